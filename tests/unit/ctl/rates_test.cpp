// SPDX-License-Identifier: MIT
#include "ctl/rates.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace subset::ctl;

namespace {

MemberView member(uint64_t instance, uint64_t selected, uint64_t drops, uint64_t cookie) {
  MemberView view;
  view.instance = instance;
  view.member = 0;
  view.selected = selected;
  view.drops = drops;
  view.cookie = cookie;
  return view;
}

GroupView group(const std::string& id, uint64_t uid, std::vector<MemberView> members) {
  GroupView view;
  view.id = id;
  view.uid = uid;
  view.home = view.alternative = view.kernel = view.refused = 0;
  for (const MemberView& each : members) *view.home += *each.selected;
  view.members = std::move(members);
  return view;
}

}  // namespace

TEST_CASE("counts over the time between") {
  const Look before{.at_seconds = 10, .groups = {group("g", 0, {member(0, 100, 1, 7)})}};
  GroupView now = group("g", 0, {member(0, 300, 5, 7)});
  now.refused = 50;
  const Rates rates(before, 12);
  CHECK(rates.selected(now, now.members[0]) == 100.0);
  CHECK(rates.drops(now, now.members[0]) == 2.0);
  CHECK(rates.of(now) == 125.0);
}

TEST_CASE("another socket in the seat goes on counting selections, not drops") {
  const Look before{.at_seconds = 0, .groups = {group("g", 0, {member(0, 100, 50, 7)})}};
  const GroupView now = group("g", 0, {member(0, 110, 60, 8)});
  const Rates rates(before, 1);
  CHECK(rates.selected(now, now.members[0]) == 10.0);
  CHECK_FALSE(rates.drops(now, now.members[0]));
}

TEST_CASE("unknown: no look before, new members, counters that went back, no time") {
  const GroupView now = group("g", 0, {member(0, 10, 0, 7)});
  CHECK_FALSE(Rates().of(now));
  CHECK_FALSE(Rates().selected(now, now.members[0]));
  CHECK_FALSE(
      Rates({.at_seconds = 0, .groups = {group("g", 0, {})}}, 1).selected(now, now.members[0]));
  const Look more{.at_seconds = 0, .groups = {group("g", 0, {member(0, 11, 0, 7)})}};
  CHECK_FALSE(Rates(more, 1).of(now));
  CHECK_FALSE(Rates({.at_seconds = 0, .groups = {now}}, 0).of(now));
}

TEST_CASE("two users' groups may have one id") {
  const Look before{
      .at_seconds = 0,
      .groups = {group("g", 1, {member(0, 10, 0, 1)}), group("g", 2, {member(0, 1000, 0, 2)})}};
  const Rates rates(before, 1);
  CHECK(rates.of(group("g", 1, {member(0, 15, 0, 1)})) == 5.0);
  CHECK(rates.of(group("g", 2, {member(0, 1001, 0, 2)})) == 1.0);
}

TEST_CASE("the document with rates") {
  const char before[] =
      R"({"groups":[{"id":"udp/a","uid":0,"selections":{"home":10},
          "members":[{"instance":0,"member":0,"selected":10,"drops":0,"cookie":1}]}]})";
  const char after[] =
      R"({"groups":[{"id":"udp/a","uid":0,"new":1,"selections":{"home":30},
          "members":[{"instance":0,"member":0,"selected":30,"drops":4,"cookie":1},
                     {"instance":1,"member":0,"selected":3,"drops":4,"cookie":2}]},
         {"id":"udp/b"}]})";
  const Rates rates({.at_seconds = 0, .groups = *parse_status(before)}, 2);
  auto line = document_with_rates(after, "a", rates, 1767225600);
  REQUIRE(line);
  CHECK(line->find('\n') == line->size() - 1);
  const auto json = nlohmann::json::parse(*line);
  CHECK(json["time"] == "2026-01-01T00:00:00Z");
  REQUIRE(json["groups"].size() == 1);
  CHECK(json["groups"][0]["new"] == 1);
  CHECK(json["groups"][0]["rate"] == 10.0);
  CHECK(json["groups"][0]["members"][0]["rate"] == 10.0);
  CHECK(json["groups"][0]["members"][0]["drops_rate"] == 2.0);
  CHECK(json["groups"][0]["members"][1]["rate"].is_null());
}
