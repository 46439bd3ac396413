// SPDX-License-Identifier: MIT
#include "daemon/observe/snapshot.h"

#include <algorithm>
#include <ctime>

#include <nlohmann/json.hpp>

namespace subset::observe {
namespace {

using Json = nlohmann::ordered_json;

Json member_json(const MemberView& view) {
  Json json;
  json["instance"] = view.instance;
  json["member"] = view.member;
  json["state"] = name_of(view.state);
  if (view.vacant) json["vacant"] = true;
  json["pid"] = view.pid > 0 ? Json(view.pid) : Json(nullptr);
  json["command"] = view.command.empty() ? Json(nullptr) : Json(view.command);
  json["weight"] = view.weight;
  json["cpus"] = view.cpus;
  json["cookie"] = view.cookie;
  json["selected"] = view.selected;
  json["migrated"] = view.migrated;
  json["queue_bytes"] = view.queue_bytes;
  json["queue_limit_bytes"] = view.queue_limit_bytes;
  json["drops"] = view.drops;
  json["backlog"] = view.backlog;
  json["backlog_limit"] = view.backlog_limit;
  json["open_connections"] = view.open_connections;
  json["since"] = to_rfc3339(view.since);
  return json;
}

Json stranger_json(const Stranger& stranger) {
  Json json;
  json["pid"] = stranger.pid > 0 ? Json(stranger.pid) : Json(nullptr);
  json["command"] = stranger.command.empty() ? Json(nullptr) : Json(stranger.command);
  json["cookie"] = stranger.cookie;
  json["reason"] = stranger.reason;
  return json;
}

Json group_json(const GroupView& view) {
  Json json;
  json["id"] = view.id;
  json["protocol"] = name_of(view.protocol);
  json["address"] = view.address;
  json["port"] = view.port;
  json["netns"] = view.netns;
  json["uid"] = view.uid;
  json["mode"] = subset::name_of(view.mode);
  json["vacancy"] = subset::name_of(view.vacancy);
  json["total"] = view.total;
  json["generation"] = view.generation;
  json["imbalance"] = view.imbalance ? Json(*view.imbalance) : Json(nullptr);
  json["selections"] = {{"home", view.home},
                        {"alternative", view.alternative},
                        {"kernel", view.kernel},
                        {"refused", view.refused}};
  json["members"] = Json::array();
  for (const MemberView& member : view.members) json["members"].push_back(member_json(member));
  json["strangers"] = Json::array();
  for (const Stranger& stranger : view.strangers)
    json["strangers"].push_back(stranger_json(stranger));
  json["foreign"] = !view.foreign.empty();
  if (!view.foreign.empty()) json["foreign_reason"] = view.foreign;
  return json;
}

}  // namespace

std::string to_json(const Snapshot& snapshot) {
  Json json;
  json["groups"] = Json::array();
  for (const GroupView& group : snapshot.groups) json["groups"].push_back(group_json(group));
  // A command may hold any bytes: what is not UTF-8 is replaced rather than thrown at.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_rfc3339(Time time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::optional<double> imbalance_of(
    const std::vector<std::pair<uint64_t, uint32_t>>& selected_weight) {
  double largest = 0;
  double sum = 0;
  for (const auto& [selected, weight] : selected_weight) {
    const double load = static_cast<double>(selected) / std::max(1u, weight);
    largest = std::max(largest, load);
    sum += load;
  }
  if (sum <= 0) return std::nullopt;
  return std::max(1.0, largest * static_cast<double>(selected_weight.size()) / sum);
}

}  // namespace subset::observe
