// SPDX-License-Identifier: MIT
#include "ctl/standing.h"

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

constexpr int64_t kOurs = 100;  // and above
constexpr int64_t kTheirs = 10;

MemberView member(uint64_t instance, int64_t pid, const char* state, uint64_t queue = 0) {
  MemberView view;
  view.instance = instance;
  view.pid = pid;
  view.state = state;
  view.queue_bytes = queue;
  return view;
}

GroupView group(uint64_t total, uint64_t generation, std::vector<MemberView> members) {
  GroupView view;
  view.id = "udp/127.0.0.1:53";
  view.total = total;
  view.generation = generation;
  view.members = std::move(members);
  return view;
}

using Lines = std::vector<std::string>;

Lines news(StandingReport& report, const GroupView& group) {
  return report.news({group}, [](int64_t pid) { return pid >= kOurs; });
}

}  // namespace

TEST_CASE("a run alone has nothing to tell") {
  StandingReport report(2);
  CHECK(news(report, group(2, 1, {member(0, kOurs, "active")})) == Lines{});
  CHECK(news(report, group(2, 1, {member(0, kOurs, "active"), member(1, kOurs + 1, "active")})) ==
        Lines{});
  // An operator has drained all of it.
  CHECK(
      news(report, group(2, 1, {member(0, kOurs, "draining"), member(1, kOurs + 1, "draining")})) ==
      Lines{});
  CHECK_FALSE(report.done());
}

TEST_CASE("a run that replaces another one tells how far it is, and whom it replaced") {
  StandingReport report(2);
  const GroupView waiting =
      group(1, 1, {member(0, kTheirs, "active"), member(0, kOurs, "pending")});
  CHECK(news(report, waiting) == Lines{});
  CHECK(news(report, waiting) ==
        Lines{"udp/127.0.0.1:53: the 1 instances that serve go on until all 2 of this run are "
              "there; 1 are"});
  CHECK(news(report, waiting) == Lines{});
  GroupView flipped = group(2, 2,
                            {member(0, kTheirs, "draining", 7), member(0, kOurs, "active"),
                             member(1, kOurs + 1, "active")});
  CHECK(news(report, flipped) == Lines{"udp/127.0.0.1:53: generation 2, of 2 instances, serves now",
                                       "udp/127.0.0.1:53: the former process 10 gets nothing new"});
  CHECK(news(report, flipped) == Lines{});
  flipped.members[0].queue_bytes = 0;
  CHECK(news(report, flipped) == Lines{"udp/127.0.0.1:53: nothing waits for them any more: stop "
                                       "the former process 10"});
  CHECK(news(report, flipped) == Lines{});
  CHECK_FALSE(report.done());
}

TEST_CASE("a run that is replaced tells so, and when it may end") {
  StandingReport report(1);
  CHECK(news(report, group(1, 1, {member(0, kOurs, "active")})) == Lines{});
  GroupView replaced = group(2, 2,
                             {member(0, kOurs, "draining"), member(0, kTheirs, "active"),
                              member(1, kTheirs + 1, "active")});
  replaced.members[0].open_connections = 3;
  CHECK(news(report, replaced) ==
        Lines{"udp/127.0.0.1:53: others have taken over all instances of this run: it gets nothing "
              "new"});
  CHECK_FALSE(report.done());
  replaced.members[0].open_connections = 0;
  CHECK(news(report, replaced) ==
        Lines{"udp/127.0.0.1:53: nothing waits for this run any more: it may be stopped"});
  CHECK(report.done());
  CHECK(news(report, replaced) == Lines{});
  // A part of it serves again.
  replaced.members[0].state = "active";
  CHECK(news(report, replaced) == Lines{});
  CHECK_FALSE(report.done());
}

TEST_CASE("a run is replaced when it is so in all groups") {
  StandingReport report(1);
  GroupView here = group(1, 1, {member(0, kOurs, "draining"), member(0, kTheirs, "active")});
  GroupView there = group(1, 1, {member(0, kOurs, "active")});
  there.id = "tcp/127.0.0.1:53";
  (void)report.news({here, there}, [](int64_t pid) { return pid >= kOurs; });
  CHECK_FALSE(report.done());
}
