// SPDX-License-Identifier: MIT
#include "ctl/shown.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <set>

namespace subset::ctl {

std::string shown(const std::optional<uint64_t>& value) {
  return value ? std::to_string(*value) : "-";
}

std::string shown(const std::string& value) {
  return value.empty() ? "-" : printable(value);
}

std::string format_number(const char* format, double value, const char* unit) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value, unit);
  return buffer;
}

std::string bytes_text(const std::optional<uint64_t>& bytes) {
  if (!bytes) return "-";
  if (*bytes < 1024) return std::to_string(*bytes);
  const char* const units[] = {"K", "M", "G", "T", "P", "E"};
  size_t unit = 0;
  double value = static_cast<double>(*bytes) / 1024;
  for (; value >= 1000 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return format_number(value < 100 ? "%.1f%s" : "%.0f%s", value, units[unit]);
}

std::string age_text(const MemberView& member, std::time_t now) {
  std::tm then{};
  const char* end = strptime(member.since.c_str(), "%Y-%m-%dT%H:%M:%S", &then);
  if (end == nullptr || member.vacant) return "-";
  std::time_t seconds = std::max<std::time_t>(0, now - timegm(&then));
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return std::to_string(seconds / 60) + "m";
  if (seconds < 86400) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86400) + "d";
}

Cell state_cell(const MemberView& member) {
  if (member.vacant) return {"vacant", Colour::Red};
  if (member.state == "active") return {member.state, Colour::Green};
  if (member.state == "draining") return {member.state, Colour::Yellow};
  return {shown(member.state), Colour::Cyan};
}

std::string queue_text(const GroupView& group, const MemberView& member) {
  if (member.vacant) return "-";
  if (group.protocol == "tcp") return shown(member.backlog) + "/" + shown(member.backlog_limit);
  return bytes_text(member.queue_bytes) + "/" + bytes_text(member.queue_limit_bytes);
}

size_t active_instances(const GroupView& group) {
  std::set<std::optional<uint64_t>> active;
  for (const MemberView& member : group.members)
    if (member.state == "active" && !member.vacant) active.insert(member.instance);
  return active.size();
}

}  // namespace subset::ctl
