// SPDX-License-Identifier: MIT
#include "daemon/observe/table_view.h"

#include <nlohmann/json.hpp>

namespace subset::observe {
namespace {

using Json = nlohmann::ordered_json;

Json slot_json(Slot slot) {
  return slot == kNoSlot ? Json(nullptr) : Json(slot);
}

// Neighbours with the same value make one run.
template <typename Field>
Json runs(const Row& row, Field field) {
  Json json = Json::array();
  for (size_t start = 0; start < row.size();) {
    size_t end = start + 1;
    while (end < row.size() && field(row[end]) == field(row[start])) end++;
    json.push_back(Json::array({field(row[start]), end - start}));
    start = end;
  }
  return json;
}

Json domain_json(const TableView::Domain& domain) {
  Json json;
  json["cpus"] = domain.cpus;
  json["buckets"] = domain.row.size();
  json["slot"] = runs(domain.row, [](const Bucket& bucket) { return slot_json(bucket.slot); });
  json["former"] = runs(domain.row, [](const Bucket& bucket) { return slot_json(bucket.former); });
  json["moved"] = runs(domain.row, [](const Bucket& bucket) { return Json(bucket.moved); });
  return json;
}

}  // namespace

std::string to_json(const TableView& table) {
  Json json;
  json["group"] = table.group;
  json["mode"] = subset::name_of(table.mode);
  json["total"] = table.total;
  json["plan"] = table.plan;
  json["slots"] = Json::array();
  for (const auto& holder : table.slots)
    json["slots"].push_back(
        {{"slot", holder.slot}, {"instance", holder.instance}, {"member", holder.member}});
  json["domains"] = Json::array();
  for (const auto& domain : table.domains) json["domains"].push_back(domain_json(domain));
  return json.dump();
}

}  // namespace subset::observe
