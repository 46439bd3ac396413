// SPDX-License-Identifier: MIT
#include "ctl/roll.h"

namespace subset::ctl {
namespace {

struct Presence {
  bool old_is_there = false;
  bool newcomer_is_there = false;
  bool newcomer_active = false;
  uint64_t queued = 0;
};

Presence presence_in(const GroupView& group, uint32_t instance, const Belongs& old,
                     const Belongs& newcomer) {
  Presence presence;
  for (const MemberView& member : group.members) {
    if (member.instance != instance || member.vacant || !member.pid) continue;
    if (newcomer(*member.pid)) {
      presence.newcomer_is_there = true;
      presence.newcomer_active |= member.state == "active";
    } else if (old(*member.pid)) {
      presence.old_is_there = true;
      presence.queued += member.queue_bytes.value_or(0) + member.backlog.value_or(0);
    }
  }
  return presence;
}

RollPhase next_of_joining(const RollFacts& facts) {
  if (!facts.newcomer_runs) return RollPhase::Abandoned;
  if (!facts.old_runs) return RollPhase::Done;
  if (!facts.seat || !facts.seat->steered)
    return facts.in_phase >= kSettleTime ? RollPhase::Stopping : RollPhase::Joining;
  if (facts.seat->joined) return RollPhase::Draining;
  return facts.in_phase >= kJoinPatience ? RollPhase::Abandoned : RollPhase::Joining;
}

RollPhase next_of_draining(const RollFacts& facts) {
  if (!facts.old_runs) return RollPhase::Done;
  bool empty = facts.seat && facts.seat->queued == 0;
  return empty || facts.in_phase >= kDrainPatience ? RollPhase::Stopping : RollPhase::Draining;
}

}  // namespace

SeatView seat_view(const std::vector<GroupView>& groups, uint32_t instance, const Belongs& old,
                   const Belongs& newcomer) {
  SeatView view;
  bool joined_somewhere = false;
  bool missing_somewhere = false;
  for (const GroupView& group : groups) {
    Presence presence = presence_in(group, instance, old, newcomer);
    view.steered |= presence.old_is_there || presence.newcomer_is_there;
    view.queued += presence.queued;
    joined_somewhere |= presence.newcomer_active;
    missing_somewhere |= presence.old_is_there && !presence.newcomer_active;
  }
  view.joined = joined_somewhere && !missing_somewhere;
  return view;
}

RollPhase next_phase(RollPhase phase, const RollFacts& facts) {
  switch (phase) {
    case RollPhase::Joining:
      return next_of_joining(facts);
    case RollPhase::Draining:
      return next_of_draining(facts);
    case RollPhase::Stopping:
      return facts.old_runs ? RollPhase::Stopping : RollPhase::Done;
    case RollPhase::Done:
    case RollPhase::Abandoned:
      break;
  }
  return phase;
}

}  // namespace subset::ctl
