// SPDX-License-Identifier: MIT
// The daemon dies under load, and comes back.
//
// Nothing of it stands in the data path: program, table and members are the kernel's, held by pins.
// A daemon that starts finds them and must take them over as they are. What could go wrong: it
// plans from scratch and flows move; it makes new maps and counters begin at zero; it attaches a
// program whose table is still empty and datagrams are lost in between.
#include <atomic>
#include <csignal>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/hand_made.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kFlows = 64;

// Nobody's bind waits longer than a second for a daemon; the rest is for starting a process on a
// busy machine.
constexpr auto kFallbackLimit = 1s + 1s;

std::set<uint32_t> all_owners(const UdpFlows& flows) {
  auto owners = flows.owners();
  return {owners.begin(), owners.end()};
}

void check_never_moved(const UdpFlows& flows) {
  CHECK(flows.lost().empty());
  CHECK(flows.oddities() == 0);
  for (uint32_t flow = 0; flow < kFlows; flow++) {
    CAPTURE(flow);
    CHECK(flows.servers(flow).size() == 1);
  }
}

// Every member of `before` is there, is the same socket and has counted on.
void check_went_on(const GroupStatus& before, const GroupStatus& after) {
  CHECK(after.total == before.total);
  CHECK(after.members.size() == before.members.size());
  for (const MemberStatus& old : before.members) {
    CAPTURE(old.instance);
    const MemberStatus* member = after.of(old.instance);
    REQUIRE(member != nullptr);
    CHECK(member->cookie == old.cookie);
    CHECK(member->pid == old.pid);
    CHECK(member->selected >= old.selected);
  }
}

UdpServer start_server(Machine& machine, const DaemonProcess& daemon, uint32_t id,
                       const std::string& share) {
  return UdpServer(machine,
                   {.id = id, .addresses = {kAddress}, .environment = daemon.environment(share)});
}

// Starts a server while no daemon runs: it has to be bound soon, and to say so in one line.
UdpServer start_without_daemon(Machine& machine, const DaemonProcess& daemon, uint32_t id,
                               const std::string& share) {
  Time begun = Clock::now();
  UdpServer server = start_server(machine, daemon, id, share);
  CHECK(Clock::now() - begun < kFallbackLimit);
  CHECK(lines_with(server.process().err(), "subset:").size() == 1);
  return server;
}

// Registers it, however long it takes to get into the daemon's queue.
bool joins(const DaemonProcess& daemon, const Fd& socket, uint32_t instance, uint32_t total) {
  try {
    return answer_to(daemon.socket(), bytes_of(registration(instance + 1, total, instance)),
                     {socket.get()}) == 0;
  } catch (const std::exception&) {
    return false;
  }
}

TEST_SUITE("system") {
  TEST_CASE("the daemon is killed and restarted under load: nothing is lost, moves or goes back") {
    constexpr uint32_t kInstances = 8;
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(10));

    PacedLoad load(flows);
    for (int round = 0; round < 3; round++) {
      load.wait_rounds(20);
      Document before = daemon.status();
      // The second time it is stopped as a service manager stops it: that is no difference.
      if (round == 1) {
        CHECK(daemon.stop() == 0);
      } else {
        daemon.kill9();
      }
      load.wait_rounds(40);
      daemon.start();
      Document after = daemon.status();
      check_went_on(before.group(kGroup), after.group(kGroup));
      load.wait_rounds(40);
    }
    load.stop();

    check_never_moved(flows);
    Document status = daemon.status();
    const GroupStatus& group = status.group(kGroup);
    CHECK(group.home == flows.sent());
    CHECK(group.alternative == 0);
    CHECK(group.kernel == 0);
    std::map<uint32_t, uint64_t> sent_to;
    for (uint32_t flow = 0; flow < kFlows; flow++) {
      sent_to[flows.owners()[flow]] += flows.journeys(flow).size();
    }
    for (const MemberStatus& member : group.members) {
      CAPTURE(member.instance);
      CHECK(member.selected == sent_to[member.instance]);
    }
  }

  // The socket stays open, as under socket activation: the new server's registration waits in its
  // queue, descriptor and all, although the server itself has long gone on.
  TEST_CASE("an instance that starts while the daemon is down is adopted when it comes back") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Kept);
    UdpServer first = start_server(machine, daemon, 0, "0/2");
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(10));
    CHECK(all_owners(flows) == std::set<uint32_t>{0});

    daemon.kill9();
    UdpServer second = start_without_daemon(machine, daemon, 1, "1/2");
    // The group's program is in force and does not know the newcomer.
    CHECK(flows.exchange(10));
    CHECK(all_owners(flows) == std::set<uint32_t>{0});

    daemon.start();
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).active() == 2; }));
    CHECK(flows.exchange(10));
    CHECK(all_owners(flows) == std::set<uint32_t>{0, 1});
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).selected() == flows.sent());
  }

  // A daemon that is killed leaves the queue as short as it needs it itself. Who finds it full
  // waits in `connect`, and the next daemon lets it in.
  TEST_CASE("more than a killed daemon's queue holds ask meanwhile: the next one takes all") {
    constexpr uint32_t kAskers = 100;
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Kept);
    daemon.kill9();
    std::vector<Fd> sockets;
    for (uint32_t i = 0; i < kAskers; i++) sockets.push_back(shared_socket(kAddress));
    std::atomic<uint32_t> joined = 0;
    std::vector<std::thread> askers;
    for (uint32_t i = 0; i < kAskers; i++)
      askers.emplace_back([&, i] { joined += joins(daemon, sockets[i], i, kAskers); });
    daemon.start();
    for (std::thread& asker : askers) asker.join();
    CHECK(joined == kAskers);
    CHECK(daemon.status().group(kGroup).active() == kAskers);
  }

  // A whole group: until the daemon comes, the kernel's own hash serves it.
  TEST_CASE("a group that starts while the daemon is down works, and is adopted") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Kept);
    daemon.kill9();
    UdpServer first = start_without_daemon(machine, daemon, 0, "0/2");
    UdpServer second = start_without_daemon(machine, daemon, 1, "1/2");
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    CHECK(all_owners(flows) == std::set<uint32_t>{0, 1});

    daemon.start();
    REQUIRE(eventually([&] {
      Document status = daemon.status();
      const GroupStatus* group = status.find(kGroup);
      return group && group->active() == 2;
    }));
    CHECK(flows.exchange(10));
    CHECK(all_owners(flows) == std::set<uint32_t>{0, 1});
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).selected() == uint64_t{kFlows} * 10);
  }

  TEST_CASE("an instance that starts while the daemon hangs works, and is adopted") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer first = start_server(machine, daemon, 0, "0/2");
    UdpFlows flows(kAddress, kFlows);
    PacedLoad load(flows);
    load.wait_rounds(10);
    daemon.hang();
    UdpServer second = start_without_daemon(machine, daemon, 1, "1/2");
    load.wait_rounds(10);
    daemon.wake();
    CHECK(eventually([&] { return daemon.status().group(kGroup).active() == 2; }));
    load.wait_rounds(20);
    load.stop();
    CHECK(all_owners(flows) == std::set<uint32_t>{0, 1});
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).selected() == flows.sent());
  }

  // With all instances there, or all but one, a table that is planned afresh looks like the one
  // that was found. After two deaths it does not.
  TEST_CASE("a table that deaths have shaped is adopted as it is") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 8, kAddress);
    UdpFlows flows(kAddress, 512);
    REQUIRE(flows.exchange(2));
    const auto home = flows.owners();
    for (uint32_t dead : {3, 5}) {
      servers[dead].process().kill9();
      REQUIRE(eventually([&] { return daemon.status().group(kGroup).of(dead) == nullptr; }));
    }
    CHECK(flows.exchange(2));
    const auto before = flows.owners();
    daemon.kill9();
    daemon.start();
    CHECK(flows.exchange(2));
    CHECK(flows.owners() == before);

    // The next plan starts from it, too.
    servers[6].process().kill9();
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).of(6) == nullptr; }));
    CHECK(flows.exchange(2));
    const auto after = flows.owners();
    for (uint32_t flow = 0; flow < flows.count(); flow++) {
      CAPTURE(flow);
      CHECK((before[flow] == 6 || after[flow] == before[flow]));
    }

    for (uint32_t back : {6, 5, 3}) {
      servers[back] = start_server(machine, daemon, back, std::to_string(back) + "/8");
    }
    CHECK(flows.exchange(2));
    CHECK(flows.owners() == home);
    CHECK(flows.lost().empty());
  }

  // What died together with the daemon must not come back from its pins as a member.
  TEST_CASE("servers that die while the daemon is down are no members when it comes back") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(10));
    daemon.kill9();
    servers[1].process().kill9();
    CHECK(flows.exchange(10));

    daemon.start();
    Document status = daemon.status();
    CHECK(status.group(kGroup).active() == 3);
    CHECK(status.group(kGroup).of(1) == nullptr);
    CHECK(flows.exchange(10));
    CHECK(!all_owners(flows).contains(1));
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).selected() == flows.sent());
  }
}

}  // namespace
}  // namespace subset::test
