// SPDX-License-Identifier: MIT
// What there is to see, at one moment: immutable, and the one source of all that shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/model/types.h"
#include "daemon/observe/figures.h"

namespace subset::observe {

struct MemberView {
  uint32_t instance = 0;
  uint32_t member = 0;  // ordinal of the socket within its instance
  MemberState state = MemberState::Active;
  bool vacant = false;  // nobody sits here now; what was counted here stays
  int32_t pid = 0;      // 0: not known
  std::string command;  // empty: not known
  uint32_t weight = kDefaultWeight;
  std::string cpus;
  Cookie cookie = 0;
  uint64_t selected = 0;
  std::optional<double> rate;  // of `selected`, a second; empty: not known yet
  uint64_t migrated = 0;
  uint64_t queue_bytes = 0;
  uint64_t queue_limit_bytes = 0;
  uint64_t drops = 0;
  uint32_t backlog = 0;
  uint32_t backlog_limit = 0;
  uint64_t open_connections = 0;
  Time since{};
};

// A socket on a managed address that is no member.
struct Stranger {
  int32_t pid = 0;
  std::string command;
  Cookie cookie = 0;
  std::string reason;
  bool operator==(const Stranger&) const = default;
};

struct GroupView {
  std::string id;
  Protocol protocol = Protocol::Udp;
  std::string address;
  uint16_t port = 0;
  uint32_t netns = 0;
  uint32_t uid = 0;
  Mode mode = Mode::Hash;
  Vacancy vacancy = Vacancy::Spread;
  uint32_t total = 1;
  uint64_t generation = 1;
  uint64_t pending_generation = 0;  // 0: none is pending
  uint32_t pending_total = 0;
  std::optional<double> imbalance;  // empty before traffic
  uint64_t home = 0;
  uint64_t alternative = 0;
  uint64_t kernel = 0;
  uint64_t refused = 0;
  std::optional<double> rate;  // of selections with any outcome, a second; empty: not known yet
  std::vector<MemberView> members;  // by instance, then ordinal
  std::vector<Stranger> strangers;
  std::string foreign;  // why the group's own program does not decide; empty: it does
};

struct Snapshot {
  Time at{};
  std::vector<GroupView> groups;  // by id
  Figures figures;

  // nullptr where there is none. Two users' groups may have one id: the first of them.
  const GroupView* find(std::string_view id) const;
};

// The document of status.schema.json.
std::string to_json(const Snapshot& snapshot);
// One group of it.
std::string to_json(const GroupView& group);

// Instances with a member that gets traffic.
uint32_t active_instances(const GroupView& group);

// What has been counted since `before`, a second. What has no counter there, or a larger one, has
// no rate.
void add_rates(Snapshot& snapshot, const Snapshot& before, double seconds);

// "2026-01-01T00:00:00Z".
std::string to_rfc3339(Time time);

// Largest over mean of selected per unit of weight; both by instance. Empty without traffic.
std::optional<double> imbalance_of(
    const std::vector<std::pair<uint64_t, uint32_t>>& selected_weight);

}  // namespace subset::observe
