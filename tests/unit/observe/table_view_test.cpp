// SPDX-License-Identifier: MIT
#include "daemon/observe/table_view.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace subset::observe {
namespace {

using Json = nlohmann::json;

Bucket bucket(Slot slot, Slot former, uint32_t moved) {
  return {.slot = slot, .former = former, .moved = moved, .instance = 0};
}

TEST_CASE("neighbours with one value are one run, and nobody is null") {
  TableView view;
  view.group = "udp/127.0.0.1:53";
  view.mode = Mode::Cpu;
  view.total = 2;
  view.plan = 5;
  view.slots = {{.slot = 0, .instance = 1, .member = 0}};
  view.domains.push_back({"0-1", {bucket(0, kNoSlot, 1), bucket(0, 3, 5), bucket(kNoSlot, 3, 5)}});
  view.domains.push_back({"2", {}});
  const Json json = Json::parse(to_json(view));
  CHECK(json["group"] == "udp/127.0.0.1:53");
  CHECK(json["mode"] == "cpu");
  CHECK(json["plan"] == 5);
  CHECK(json["slots"] == Json::parse(R"([{"slot":0,"instance":1,"member":0}])"));
  CHECK(json["domains"][0] == Json::parse(R"({"cpus":"0-1","buckets":3,
    "slot":[[0,2],[null,1]],"former":[[null,1],[3,2]],"moved":[[1,1],[5,2]]})"));
  CHECK(json["domains"][1]["buckets"] == 0);
  CHECK(json["domains"][1]["slot"].empty());
}

}  // namespace
}  // namespace subset::observe
