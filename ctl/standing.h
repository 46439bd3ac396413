// SPDX-License-Identifier: MIT
// How a whole run stands in its groups beside other runs: it waits to replace another one, has
// replaced it, or was replaced itself. Pure: the supervisor looks, this finds the words.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/roll.h"
#include "ctl/status.h"

namespace subset::ctl {

// One run in one group.
struct Standing {
  uint64_t total = 0;  // of the active generation
  uint64_t generation = 0;
  std::set<uint64_t> pending, active;  // instances of this run
  bool drains = false;                 // this run has members that get nothing new
  bool others_serve = false;
  SeatView left;             // what its own draining members have still to do
  std::set<int64_t> former;  // processes of others that get nothing new
  SeatView left_to_former;

  bool replaced() const { return pending.empty() && active.empty() && drains && others_serve; }
};

Standing standing_in(const GroupView& group, const Belongs& ours);

// Tells what changed since the last look, one line each.
class StandingReport {
 public:
  explicit StandingReport(uint32_t copies) : copies_(copies) {}

  std::vector<std::string> news(const std::vector<GroupView>& groups, const Belongs& ours);

  // Of the last look: everything that this run held is others' now, and it has nothing left to do.
  bool done() const { return done_; }

 private:
  struct Told {
    uint32_t looks_pending = 0;  // in a row
    bool was_pending = false, replaced = false, idle = false;
    std::set<int64_t> former, former_idle;
  };
  void report(const GroupView& group, const Standing& standing, Told& told,
              std::vector<std::string>& lines) const;

  uint32_t copies_;
  bool done_ = false;
  std::map<std::string, Told> told_;  // by group
};

}  // namespace subset::ctl
