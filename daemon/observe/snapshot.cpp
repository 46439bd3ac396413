// SPDX-License-Identifier: MIT
#include "daemon/observe/snapshot.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <set>
#include <tuple>

#include <nlohmann/json.hpp>

namespace subset::observe {
namespace {

using Json = nlohmann::ordered_json;

Json rate_json(const std::optional<double>& rate) {
  if (!rate) return nullptr;
  return std::round(*rate * 10) / 10;
}

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
  json["rate"] = rate_json(view.rate);
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
  if (view.pending_generation > 0)
    json["pending"] = {{"generation", view.pending_generation}, {"total", view.pending_total}};
  else
    json["pending"] = nullptr;
  json["imbalance"] = view.imbalance ? Json(*view.imbalance) : Json(nullptr);
  json["selections"] = {{"home", view.home},
                        {"alternative", view.alternative},
                        {"kernel", view.kernel},
                        {"refused", view.refused}};
  json["rate"] = rate_json(view.rate);
  json["members"] = Json::array();
  for (const MemberView& member : view.members) json["members"].push_back(member_json(member));
  json["strangers"] = Json::array();
  for (const Stranger& stranger : view.strangers)
    json["strangers"].push_back(stranger_json(stranger));
  json["foreign"] = !view.foreign.empty();
  if (!view.foreign.empty()) json["foreign_reason"] = view.foreign;
  return json;
}

// A command may hold any bytes: what is not UTF-8 is replaced rather than thrown at.
std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<double> rate_of(uint64_t now, uint64_t before, double seconds) {
  if (now < before || seconds <= 0) return std::nullopt;
  return static_cast<double>(now - before) / seconds;
}

uint64_t selections(const GroupView& group) {
  return group.home + group.alternative + group.kernel + group.refused;
}

std::pair<uint32_t, uint32_t> seat_of(const MemberView& member) {
  return {member.instance, member.member};
}

// Both are sorted by seat.
void add_rates(GroupView& group, const GroupView& before, double seconds) {
  group.rate = rate_of(selections(group), selections(before), seconds);
  auto former = before.members.begin();
  for (MemberView& member : group.members) {
    while (former != before.members.end() && seat_of(*former) < seat_of(member)) ++former;
    if (former != before.members.end() && seat_of(*former) == seat_of(member))
      member.rate = rate_of(member.selected, former->selected, seconds);
  }
}

// Two users' groups may have one id.
std::tuple<const std::string&, uint32_t> name_of(const GroupView& group) {
  return {group.id, group.uid};
}

}  // namespace

std::string to_json(const Snapshot& snapshot) {
  Json json;
  json["time"] = to_rfc3339(snapshot.at);
  json["version"] = snapshot.figures.version;
  json["groups"] = Json::array();
  for (const GroupView& group : snapshot.groups) json["groups"].push_back(group_json(group));
  return text_of(json);
}

std::string to_json(const GroupView& group) {
  return text_of(group_json(group));
}

const GroupView* Snapshot::find(std::string_view id) const {
  const auto found = std::ranges::find(groups, id, &GroupView::id);
  return found == groups.end() ? nullptr : &*found;
}

uint32_t active_instances(const GroupView& group) {
  std::set<uint32_t> instances;
  for (const MemberView& member : group.members) {
    if (!member.vacant && member.state == MemberState::Active) instances.insert(member.instance);
  }
  return static_cast<uint32_t>(instances.size());
}

void add_rates(Snapshot& snapshot, const Snapshot& before, double seconds) {
  auto former = before.groups.begin();
  for (GroupView& group : snapshot.groups) {
    while (former != before.groups.end() && name_of(*former) < name_of(group)) ++former;
    if (former != before.groups.end() && name_of(*former) == name_of(group))
      add_rates(group, *former, seconds);
  }
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
