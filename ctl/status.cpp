// SPDX-License-Identifier: MIT
#include "ctl/status.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "ctl/rates.h"
#include "ctl/shown.h"
#include "ctl/table.h"

namespace subset::ctl {
namespace {

using Json = nlohmann::ordered_json;  // keeps the daemon's order of fields

// --- reading ---------------------------------------------------------------------------------

const Json& field(const Json& object, const char* name) {
  static const Json kNothing;
  auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() ? *found : kNothing;
}

template <typename T>
std::optional<T> number(const Json& object, const char* name) {
  const Json& value = field(object, name);
  // A count below zero is no count.
  if (!value.is_number() || (std::is_unsigned_v<T> && value.get<double>() < 0)) return std::nullopt;
  return value.get<T>();
}

std::optional<uint64_t> count(const Json& object, const char* name) {
  return number<uint64_t>(object, name);
}

std::string text(const Json& object, const char* name) {
  const Json& value = field(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

MemberView member_of(const Json& json) {
  const Json& vacant = field(json, "vacant");
  return {.instance = count(json, "instance"),
          .member = count(json, "member"),
          .weight = count(json, "weight"),
          .selected = count(json, "selected"),
          .queue_bytes = count(json, "queue_bytes"),
          .queue_limit_bytes = count(json, "queue_limit_bytes"),
          .drops = count(json, "drops"),
          .backlog = count(json, "backlog"),
          .backlog_limit = count(json, "backlog_limit"),
          .open_connections = count(json, "open_connections"),
          .cookie = count(json, "cookie"),
          .pid = number<int64_t>(json, "pid"),
          .state = text(json, "state"),
          .command = text(json, "command"),
          .cpus = text(json, "cpus"),
          .since = text(json, "since"),
          .vacant = vacant.is_boolean() && vacant.get<bool>()};
}

GroupView group_of(const Json& json) {
  const Json& selections = field(json, "selections");
  GroupView group{.id = text(json, "id"),
                  .protocol = text(json, "protocol"),
                  .mode = text(json, "mode"),
                  .uid = count(json, "uid"),
                  .total = count(json, "total"),
                  .generation = count(json, "generation"),
                  .home = count(selections, "home"),
                  .alternative = count(selections, "alternative"),
                  .kernel = count(selections, "kernel"),
                  .refused = count(selections, "refused"),
                  .imbalance = number<double>(json, "imbalance"),
                  .members = {},
                  .strangers = {},
                  .foreign = text(json, "foreign_reason")};
  for (const Json& each : field(json, "members")) group.members.push_back(member_of(each));
  for (const Json& each : field(json, "strangers"))
    group.strangers.push_back({.pid = number<int64_t>(each, "pid"),
                               .command = text(each, "command"),
                               .reason = text(each, "reason")});
  std::stable_sort(group.members.begin(), group.members.end(),
                   [](const MemberView& a, const MemberView& b) {
                     return std::tie(a.instance, a.member) < std::tie(b.instance, b.member);
                   });
  return group;
}

Result<Json> parse_document(const std::string& document) {
  Json json = Json::parse(document, nullptr, false);
  if (!field(json, "groups").is_array())
    return fail(0,
                "the daemon's status is not the JSON that this version reads: use a subset and "
                "a subsetd of one version");
  return json;
}

// --- showing ---------------------------------------------------------------------------------

std::string share_text(const MemberView& member, uint64_t selected_by_all) {
  if (!member.selected || selected_by_all == 0) return "-";
  return format_number(
      "%.1f%s",
      100.0 * static_cast<double>(*member.selected) / static_cast<double>(selected_by_all), "%");
}

const std::vector<Column> kMemberColumns = {
    {"INSTANCE", true}, {"MEMBER", true}, {"STATE"},          {"PID", true},   {"COMMAND"},
    {"CPUS"},           {"WEIGHT", true}, {"SELECTED", true}, {"SHARE", true}, {"QUEUE", true},
    {"OPEN", true},     {"DROPS", true},  {"AGE", true}};

std::vector<Cell> member_row(const GroupView& group, const MemberView& member,
                             uint64_t selected_by_all, std::time_t now) {
  bool tcp = group.protocol == "tcp";
  return {shown(member.instance) + "/" + shown(group.total),
          shown(member.member),
          state_cell(member),
          member.pid ? std::to_string(*member.pid) : "-",
          shown(member.command),
          shown(member.cpus),
          shown(member.weight),
          shown(member.selected),
          share_text(member, selected_by_all),
          queue_text(group, member),
          tcp ? shown(member.open_connections) : "-",
          {shown(member.drops), member.drops.value_or(0) > 0 ? Colour::Red : Colour::None},
          age_text(member, now)};
}

std::string headline(const GroupView& group, bool colour) {
  size_t active = active_instances(group);
  bool complete = group.total && active == *group.total;
  std::string instances = std::to_string(active) + "/" + shown(group.total) + " active";
  std::string imbalance = group.imbalance ? format_number("%.2f%s", *group.imbalance, "") : "-";
  return painted(shown(group.id), Colour::Bold, colour) + "  " + shown(group.mode) + "  " +
         painted(instances, complete ? Colour::Green : Colour::Yellow, colour) + "  generation " +
         shown(group.generation) + "  imbalance " + imbalance + "  home " + shown(group.home) +
         "  alternative " + shown(group.alternative) + "  kernel " + shown(group.kernel) +
         "  refused " + shown(group.refused) + "\n";
}

std::string stranger_line(const StrangerView& stranger, bool colour) {
  std::string who = stranger.pid ? " pid " + std::to_string(*stranger.pid) : "";
  if (!stranger.command.empty()) who += " (" + printable(stranger.command) + ")";
  return "  " + painted("stranger", Colour::Red, colour) + who + ": " + shown(stranger.reason) +
         "\n";
}

std::string foreign_line(const GroupView& group, bool colour) {
  return "  " + painted("foreign", Colour::Red, colour) + ": " + shown(group.foreign) +
         "; shares are not kept\n";
}

std::string render_group(const GroupView& group, const Style& style) {
  uint64_t selected = 0;
  for (const MemberView& member : group.members) selected += member.selected.value_or(0);
  std::vector<std::vector<Cell>> rows;
  rows.reserve(group.members.size());
  for (const MemberView& member : group.members)
    rows.push_back(member_row(group, member, selected, style.now));
  std::string text = headline(group, style.colour);
  if (!group.foreign.empty()) text += foreign_line(group, style.colour);
  if (!rows.empty()) text += render_table(kMemberColumns, rows, "  ", style.colour);
  for (const StrangerView& stranger : group.strangers)
    text += stranger_line(stranger, style.colour);
  return text;
}

std::string list_of_ids(const std::vector<GroupView>& groups) {
  constexpr size_t kShown = 8;
  std::string list;
  for (size_t i = 0; i < std::min(groups.size(), kShown); ++i)
    list += (i == 0 ? "" : ", ") + shown(groups[i].id);
  return groups.size() > kShown ? list + ", ..." : list;
}

// --- for programs ----------------------------------------------------------------------------

Json json_of(const std::optional<double>& rate) {
  return rate ? Json(*rate) : Json(nullptr);
}

void add_rates(Json& json, const GroupView& group, const Rates& rates) {
  if (!json.is_object()) return;
  const MemberView member = member_of(json);
  json["rate"] = json_of(rates.selected(group, member));
  json["drops_rate"] = json_of(rates.drops(group, member));
}

std::string utc_text(std::time_t time) {
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

Result<std::vector<GroupView>> parse_status(const std::string& document) {
  auto json = parse_document(document);
  if (!json) return tl::make_unexpected(json.error());
  std::vector<GroupView> groups;
  for (const Json& each : field(*json, "groups")) groups.push_back(group_of(each));
  return groups;
}

Result<std::string> choose_group(const std::vector<GroupView>& groups, const std::string& wanted) {
  std::vector<GroupView> candidates;
  for (const GroupView& group : groups) {
    if (group.id == wanted) return group.id;
    if (group.id.find(wanted) != std::string::npos) candidates.push_back(group);
  }
  if (candidates.size() == 1) return candidates.front().id;
  if (groups.empty()) return fail(0, "no group '" + wanted + "': there are no groups at all");
  if (candidates.empty()) return fail(0, "no group '" + wanted + "', but " + list_of_ids(groups));
  return fail(0, "'" + wanted + "' may be any of " + list_of_ids(candidates) + ": say more of it");
}

std::string render_status(const std::vector<GroupView>& groups, const Style& style) {
  if (groups.empty()) return "no groups: no steered socket is bound\n";
  std::string text;
  for (const GroupView& group : groups)
    text += (text.empty() ? "" : "\n") + render_group(group, style);
  return text;
}

Result<std::string> pretty_status(const std::string& document,
                                  const std::optional<std::string>& id) {
  auto json = parse_document(document);
  if (!json) return tl::make_unexpected(json.error());
  if (id) {
    Json chosen = Json::array();
    for (const Json& each : field(*json, "groups"))
      if (text(each, "id") == *id) chosen.push_back(each);
    (*json)["groups"] = std::move(chosen);
  }
  // Replaced rather than thrown at: bytes that are no UTF-8.
  return json->dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::string> document_with_rates(const std::string& document,
                                        const std::optional<std::string>& part, const Rates& rates,
                                        std::time_t now) {
  auto json = parse_document(document);
  if (!json) return tl::make_unexpected(json.error());
  Json groups = Json::array();
  for (Json& each : (*json)["groups"]) {
    const GroupView group = group_of(each);
    if (!each.is_object() || (part && group.id.find(*part) == std::string::npos)) continue;
    each["rate"] = json_of(rates.of(group));
    if (field(each, "members").is_array())
      for (Json& member : each["members"]) add_rates(member, group, rates);
    groups.push_back(std::move(each));
  }
  const Json line = {{"time", utc_text(now)}, {"groups", std::move(groups)}};
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace subset::ctl
