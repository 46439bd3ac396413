// SPDX-License-Identifier: MIT
// How fast counters grow between two looks at the daemon. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/status.h"

namespace subset::ctl {

// What was seen at one moment of a clock that never jumps.
struct Look {
  double at_seconds = 0;
  std::vector<GroupView> groups;
};

// All are per second, and unknown without a look before, for what was not there then, and for a
// counter that went back.
class Rates {
 public:
  Rates() = default;
  Rates(const Look& before, double now_seconds);

  // Selections of every outcome, which `now` has counted.
  std::optional<double> of(const GroupView& now) const;
  // Of one member: what was steered to it, and what it dropped.
  std::optional<double> selected(const GroupView& group, const MemberView& now) const;
  std::optional<double> drops(const GroupView& group, const MemberView& now) const;

 private:
  using GroupName = std::pair<std::string, std::optional<uint64_t>>;
  using MemberName = std::pair<std::optional<uint64_t>, std::optional<uint64_t>>;
  struct Former {
    std::optional<uint64_t> selections;
    std::map<MemberName, MemberView> members;
  };

  static GroupName name_of(const GroupView& group) { return {group.id, group.uid}; }
  const MemberView* find(const GroupView& group, const MemberView& member) const;
  std::optional<double> growth(const std::optional<uint64_t>& before,
                               const std::optional<uint64_t>& now) const;

  double seconds_ = 0;
  std::map<GroupName, Former> former_;
};

}  // namespace subset::ctl
