// SPDX-License-Identifier: MIT
// A rolling restart, one instance: when the old process may be stopped. Pure: the supervisor looks
// at the world, this decides.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ctl/status.h"

namespace subset::ctl {

inline constexpr std::chrono::seconds kJoinPatience{10};
inline constexpr std::chrono::seconds kDrainPatience{5};  // unless --drain-time says another
// Where nobody can say that the newcomer serves, it gets this long to begin.
inline constexpr std::chrono::seconds kSettleTime{1};

// What the daemon's status says about one instance and the two processes that want to be it.
struct SeatView {
  bool steered = false;       // one of the two has members: whether the newcomer joined can be seen
  bool joined = false;        // in every group where the old one is, the newcomer is the instance
  uint64_t queued_bytes = 0;  // that the old one has still to read
  uint64_t queued_connections = 0;  // that it has still to accept
  uint64_t open_connections = 0;    // of its listeners, those that are queued among them

  bool empty() const {
    return queued_bytes == 0 && queued_connections == 0 && open_connections == 0;
  }
};

// Adds what a member that gets nothing new has still to do.
void add_what_waits(SeatView& view, const MemberView& member);

// Is this process, or one that it started, meant?
using Belongs = std::function<bool(int64_t pid)>;
SeatView seat_view(const std::vector<GroupView>& groups, uint32_t instance, const Belongs& old,
                   const Belongs& newcomer);

enum class RollPhase : uint8_t {
  Joining,   // both run; the old one serves
  Draining,  // the newcomer serves; the old one reads what it has
  Stopping,  // the old one has been told to end
  Done,      // the newcomer is the instance
  Abandoned  // the old one stays the instance; the newcomer is stopped
};

struct RollFacts {
  bool old_runs = true;
  bool newcomer_runs = true;
  std::optional<SeatView> seat;  // nullopt: no daemon answers
  std::chrono::milliseconds in_phase{0};
  std::chrono::milliseconds drain_patience{kDrainPatience};
};

RollPhase next_phase(RollPhase phase, const RollFacts& facts);

// What the old process is stopped with although time was over: "2 connections open"; without a
// daemon nobody knows.
std::string leftover_text(const std::optional<SeatView>& seat);

}  // namespace subset::ctl
