// SPDX-License-Identifier: MIT
#include "ctl/roll.h"

#include <doctest/doctest.h>

using namespace subset::ctl;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr int64_t kOld = 10;
constexpr int64_t kNew = 20;

MemberView member(uint64_t instance, int64_t pid, const char* state, uint64_t queue = 0) {
  MemberView view;
  view.instance = instance;
  view.pid = pid;
  view.state = state;
  view.queue_bytes = queue;
  return view;
}

GroupView group(std::vector<MemberView> members) {
  GroupView view;
  view.members = std::move(members);
  return view;
}

SeatView seat(const std::vector<GroupView>& groups) {
  return seat_view(
      groups, 1, [](int64_t pid) { return pid == kOld; }, [](int64_t pid) { return pid == kNew; });
}

RollFacts after(milliseconds in_phase, std::optional<SeatView> view) {
  return {.old_runs = true, .newcomer_runs = true, .seat = view, .in_phase = in_phase};
}

}  // namespace

TEST_CASE("a newcomer has joined when it is active wherever the old one was") {
  CHECK_FALSE(seat({group({member(0, 30, "active")})}).steered);
  CHECK_FALSE(seat({group({member(1, kOld, "active")})}).joined);
  CHECK(seat({group({member(1, kOld, "draining", 7), member(1, kNew, "active")})}).joined);
  CHECK(seat({group({member(1, kOld, "draining", 7), member(1, kNew, "active")})}).queued_bytes ==
        7);
  // One of two groups is not enough.
  CHECK_FALSE(seat({group({member(1, kOld, "draining"), member(1, kNew, "active")}),
                    group({member(1, kOld, "active")})})
                  .joined);
  // A held socket changes hands without leaving a draining member behind.
  CHECK(seat({group({member(1, kNew, "active")})}).joined);
  CHECK_FALSE(seat({group({member(1, kNew, "pending")})}).joined);
  // An operator has drained the instance: whoever is it drains.
  CHECK(seat({group({member(1, kOld, "draining"), member(1, kNew, "draining")})}).joined);
}

TEST_CASE("the old one serves until the newcomer has joined") {
  SeatView waiting{.steered = true, .joined = false, .queued_bytes = 5};
  CHECK(next_phase(RollPhase::Joining, after(seconds(9), waiting)) == RollPhase::Joining);
  CHECK(next_phase(RollPhase::Joining, after(seconds(10), waiting)) == RollPhase::Abandoned);
  SeatView joined{.steered = true, .joined = true, .queued_bytes = 5};
  CHECK(next_phase(RollPhase::Joining, after(milliseconds(1), joined)) == RollPhase::Draining);
}

TEST_CASE("where nobody can tell, the newcomer gets time to begin") {
  for (std::optional<SeatView> view : {std::optional<SeatView>(), std::optional(SeatView{})}) {
    CHECK(next_phase(RollPhase::Joining, after(milliseconds(999), view)) == RollPhase::Joining);
    CHECK(next_phase(RollPhase::Joining, after(milliseconds(1000), view)) == RollPhase::Stopping);
  }
}

TEST_CASE("the old one reads what it has, within bounds") {
  SeatView full{.steered = true, .joined = true, .queued_bytes = 1};
  SeatView empty{.steered = true, .joined = true, .queued_bytes = 0};
  CHECK(next_phase(RollPhase::Draining, after(seconds(1), full)) == RollPhase::Draining);
  CHECK(next_phase(RollPhase::Draining, after(seconds(1), std::nullopt)) == RollPhase::Draining);
  CHECK(next_phase(RollPhase::Draining, after(seconds(5), full)) == RollPhase::Stopping);
  CHECK(next_phase(RollPhase::Draining, after(seconds(0), empty)) == RollPhase::Stopping);
}

TEST_CASE("connections that are open are waited for, too") {
  MemberView listener = member(1, kOld, "draining");
  listener.backlog = 2;
  listener.open_connections = 5;
  SeatView view = seat({group({listener, member(1, kNew, "active")})});
  CHECK(view.queued_connections == 2);
  CHECK(view.open_connections == 5);
  CHECK_FALSE(view.empty());
  CHECK(next_phase(RollPhase::Draining, after(seconds(1), view)) == RollPhase::Draining);
  RollFacts late = after(seconds(1), view);
  late.drain_patience = milliseconds(900);
  CHECK(next_phase(RollPhase::Draining, late) == RollPhase::Stopping);
  CHECK(leftover_text(view) == "2 connections to accept, 3 connections open");
}

TEST_CASE("one of the two may end in between") {
  RollFacts facts =
      after(seconds(0), SeatView{.steered = true, .joined = false, .queued_bytes = 0});
  facts.old_runs = false;
  CHECK(next_phase(RollPhase::Joining, facts) == RollPhase::Done);
  CHECK(next_phase(RollPhase::Draining, facts) == RollPhase::Done);
  CHECK(next_phase(RollPhase::Stopping, facts) == RollPhase::Done);
  facts.old_runs = true;
  facts.newcomer_runs = false;
  CHECK(next_phase(RollPhase::Joining, facts) == RollPhase::Abandoned);
  CHECK(next_phase(RollPhase::Stopping, facts) == RollPhase::Stopping);
}
