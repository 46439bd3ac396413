// SPDX-License-Identifier: MIT
// A server dies under load, and comes back.
//
// The kernel empties the slot of a closed socket by itself. What happens next is ours: the program
// that meets the empty slot picks another member (outcome "alternative") and the daemon plans the
// table anew. What could go wrong: the kernel's reuseport array moves its last socket into the gap,
// and whatever relied on its order would send other flows elsewhere; a plan that is not minimal
// would move flows that nobody had to move; a flip that is not atomic would lose some.
//
// The victim is stopped before it is killed, so that its queue fills: the test is to see that
// those datagrams are lost and no others. A socket is a queue, so what is lost of a flow is one run
// of numbers, and all of it was sent before the process was gone.
#include <algorithm>
#include <csignal>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kInstances = 8;
constexpr uint32_t kFlows = 64;
constexpr uint32_t kVictim = 3;

struct Crash {
  Time killed;
  Time gone;
  Time restarted;
  Time returned;
};

// Kills the victim under load and brings it back; the load goes on throughout.
Crash crash_and_return(Machine& machine, const DaemonProcess& daemon, PacedLoad& load,
                       UdpServer& victim) {
  Crash crash;
  load.wait_rounds(20);
  victim.process().signal(SIGSTOP);
  load.wait_rounds(5);
  crash.killed = Clock::now();
  victim.process().kill9();
  crash.gone = Clock::now();
  load.wait_rounds(60);
  crash.restarted = Clock::now();
  victim = UdpServer(
      machine, {.id = kVictim, .addresses = {kAddress}, .environment = daemon.environment("3/8")});
  REQUIRE(eventually([&] { return daemon.status().group(kGroup).active() == kInstances; }));
  crash.returned = Clock::now();
  load.wait_rounds(40);
  load.stop();
  return crash;
}

void check_losses(const UdpFlows& flows, const std::vector<uint32_t>& home, const Crash& crash) {
  auto lost = flows.lost();
  CHECK(!lost.empty());  // something was queued, or this test saw nothing
  for (const Number& number : lost) {
    CAPTURE(number.flow);
    CAPTURE(number.sequence);
    CHECK(home[number.flow] == kVictim);
    CHECK(flows.journeys(number.flow)[number.sequence].sent <= crash.gone);
  }
  for (size_t i = 1; i < lost.size(); i++) {
    if (lost[i].flow == lost[i - 1].flow) CHECK(lost[i].sequence == lost[i - 1].sequence + 1);
  }
}

void check_owners(const UdpFlows& flows, const std::vector<uint32_t>& home, const Crash& crash) {
  for (uint32_t flow = 0; flow < kFlows; flow++) {
    CAPTURE(flow);
    std::set<uint32_t> only_home{home[flow]};
    if (home[flow] == kVictim) {
      CHECK(!flows.servers(flow, crash.gone, crash.restarted).contains(kVictim));
      CHECK(flows.servers(flow, crash.returned) == only_home);
    } else {
      CHECK(flows.servers(flow) == only_home);
    }
  }
}

// From the kill to the first answer to each of the dead one's flows: the longest.
Clock::duration outage(const UdpFlows& flows, const std::vector<uint32_t>& home, Time killed) {
  Clock::duration longest{};
  for (uint32_t flow = 0; flow < kFlows; flow++) {
    if (home[flow] != kVictim) continue;
    Time first = Time::max();
    for (const Journey& journey : flows.journeys(flow)) {
      if (!journey.lost() && journey.server != kVictim && journey.answered >= killed) {
        first = std::min(first, journey.answered);
      }
    }
    longest = std::max(longest, first - killed);
  }
  return longest;
}

Clock::duration crash_once() {
  Machine machine;
  DaemonProcess daemon(machine);
  auto servers = start_instances(machine, daemon, kInstances, kAddress);
  UdpFlows flows(kAddress, kFlows);
  REQUIRE(flows.exchange(10));
  auto home = flows.owners();
  // 64 flows over 8 instances leave one without any once in 600 runs.
  while (std::count(home.begin(), home.end(), kVictim) == 0) {
    flows = UdpFlows(kAddress, kFlows);
    REQUIRE(flows.exchange(10));
    home = flows.owners();
  }
  uint64_t sent_before = daemon.status().group(kGroup).selected() - flows.sent();

  PacedLoad load(flows);
  Crash crash = crash_and_return(machine, daemon, load, servers[kVictim]);

  check_losses(flows, home, crash);
  check_owners(flows, home, crash);
  CHECK(flows.oddities() == 0);
  Document status = daemon.status();
  CHECK(status.group(kGroup).kernel == 0);
  CHECK(status.group(kGroup).selected() == sent_before + flows.sent());
  return outage(flows, home, crash.killed);
}

UdpServer start_again(Machine& machine, const DaemonProcess& daemon, uint32_t instance) {
  return UdpServer(machine, {.id = instance,
                             .addresses = {kAddress},
                             .environment = daemon.environment(std::to_string(instance) + "/8")});
}

// Who answers each flow when so many instances are there and the table has been planned for them.
std::vector<uint32_t> owners_among(size_t active, const DaemonProcess& daemon, UdpFlows& flows) {
  REQUIRE(eventually([&] { return daemon.status().group(kGroup).active() == active; }));
  daemon.status();  // a round trip later: what followed from the change is in force
  CHECK(flows.exchange(2));
  return flows.owners();
}

TEST_SUITE("system") {
  // Each plan starts from the table in force, which earlier deaths have shaped. One that started
  // afresh would share out the first one's flows once more when the second dies.
  TEST_CASE("deaths one after another move the flows of the dead alone; returning undoes them") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    UdpFlows flows(kAddress, 512);
    const auto home = owners_among(8, daemon, flows);
    servers[3].process().kill9();
    const auto without_3 = owners_among(7, daemon, flows);
    servers[5].process().kill9();
    const auto without_both = owners_among(6, daemon, flows);
    servers[5] = start_again(machine, daemon, 5);
    const auto without_3_again = owners_among(7, daemon, flows);
    servers[3] = start_again(machine, daemon, 3);
    const auto at_last = owners_among(8, daemon, flows);

    for (uint32_t flow = 0; flow < flows.count(); flow++) {
      CAPTURE(flow);
      CHECK((home[flow] == 3 || without_3[flow] == home[flow]));
      CHECK((without_3[flow] == 5 || without_both[flow] == without_3[flow]));
    }
    CHECK(without_3_again == without_3);
    CHECK(at_last == home);
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).selected() == flows.sent());
  }

  // The limit is the product's; a busy machine may exceed it once, so the best of three counts.
  // Everything else must hold each time.
  TEST_CASE("one of eight is killed under load: its flows go on at once, no other flow moves") {
    Clock::duration best = Clock::duration::max();
    for (int attempt = 0; attempt < 3 && best > 100ms; attempt++) {
      best = std::min(best, crash_once());
    }
    CHECK(best <= 100ms);
  }
}

}  // namespace
}  // namespace subset::test
