// SPDX-License-Identifier: MIT
#include "ctl/roll.h"

#include <algorithm>

namespace subset::ctl {
namespace {

struct Presence {
  bool old_is_there = false;
  bool newcomer_is_there = false;
  bool newcomer_joined = false;
};

// A newcomer that drains is the instance, too: an operator has drained that.
bool has_joined(const MemberView& member) {
  return member.state == "active" || member.state == "draining";
}

Presence look_into(const GroupView& group, uint32_t instance, const Belongs& old,
                   const Belongs& newcomer, SeatView& view) {
  Presence presence;
  for (const MemberView& member : group.members) {
    if (member.instance != instance || member.vacant || !member.pid) continue;
    if (newcomer(*member.pid)) {
      presence.newcomer_is_there = true;
      presence.newcomer_joined |= has_joined(member);
    } else if (old(*member.pid)) {
      presence.old_is_there = true;
      add_what_waits(view, member);
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
  const bool empty = facts.seat && facts.seat->empty();
  const bool late = facts.in_phase >= facts.drain_patience;
  return empty || late ? RollPhase::Stopping : RollPhase::Draining;
}

}  // namespace

void add_what_waits(SeatView& view, const MemberView& member) {
  view.queued_bytes += member.queue_bytes.value_or(0);
  view.queued_connections += member.backlog.value_or(0);
  view.open_connections += member.open_connections.value_or(0);
}

SeatView seat_view(const std::vector<GroupView>& groups, uint32_t instance, const Belongs& old,
                   const Belongs& newcomer) {
  SeatView view;
  bool joined_somewhere = false;
  bool missing_somewhere = false;
  for (const GroupView& group : groups) {
    const Presence presence = look_into(group, instance, old, newcomer, view);
    view.steered |= presence.old_is_there || presence.newcomer_is_there;
    joined_somewhere |= presence.newcomer_joined;
    missing_somewhere |= presence.old_is_there && !presence.newcomer_joined;
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

std::string leftover_text(const std::optional<SeatView>& seat) {
  if (!seat) return "what waits for it is not known, since no daemon answers";
  std::string text;
  const auto add = [&text](uint64_t count, const char* what) {
    if (count > 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
  };
  add(seat->queued_bytes, "bytes of datagrams to read");
  add(seat->queued_connections, "connections to accept");
  add(seat->open_connections - std::min(seat->open_connections, seat->queued_connections),
      "connections open");
  return text;
}

}  // namespace subset::ctl
