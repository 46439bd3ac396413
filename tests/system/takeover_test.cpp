// SPDX-License-Identifier: MIT
// A rolling restart: the new 3/8 starts while the old one lives and is steered to from then on; the
// old one gets nothing new, reads what it has, and can be stopped without loss.
//
// The replacement has to be one store in the kernel. Taking the old socket out and then putting the
// new one in would leave a moment in which the slot is empty: then other members would see flows
// that are not theirs, which is what this test looks for.
#include <algorithm>
#include <csignal>
#include <set>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr char kPatient[] = "[groups]\ntakeover_wait_milliseconds = 5000\n";
constexpr uint32_t kInstances = 8;
constexpr uint32_t kFlows = 64;
constexpr uint32_t kOld = 3;
constexpr uint32_t kNew = 103;

const MemberStatus* member_of(const GroupStatus& group, pid_t pid) {
  auto found = std::find_if(group.members.begin(), group.members.end(),
                            [&](const MemberStatus& member) { return member.pid == pid; });
  return found == group.members.end() ? nullptr : &*found;
}

// The old one has read all that it was ever sent.
bool drained(const Document& status, pid_t pid) {
  const MemberStatus* member = member_of(status.group(kGroup), pid);
  return member && member->state == "draining" && member->queue_bytes == 0;
}

UdpServerOptions sole_instance(const DaemonProcess& daemon, uint32_t id) {
  return {.id = id, .addresses = {kAddress}, .environment = daemon.environment("0/1")};
}

UdpServerOptions late_successor(const DaemonProcess& daemon) {
  UdpServerOptions options = sole_instance(daemon, 1);
  options.late = true;
  return options;
}

TEST_SUITE("system") {
  TEST_CASE("a newcomer takes an instance over under load and nothing is lost") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(10));
    auto home = flows.owners();

    PacedLoad load(flows);
    load.wait_rounds(20);
    UdpServer newcomer(
        machine, {.id = kNew, .addresses = {kAddress}, .environment = daemon.environment("3/8")});
    Time taken = Clock::now();
    Document status = daemon.status();
    const MemberStatus* active = status.group(kGroup).of(kOld);
    REQUIRE(active != nullptr);
    CHECK(active->pid == newcomer.process().pid());
    pid_t old_pid = servers[kOld].process().pid();
    REQUIRE(member_of(status.group(kGroup), old_pid) != nullptr);
    CHECK(member_of(status.group(kGroup), old_pid)->state == "draining");
    load.wait_rounds(20);
    REQUIRE(eventually([&] { return drained(daemon.status(), old_pid); }));
    servers[kOld].report();
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).members.size() == kInstances; }));
    load.wait_rounds(40);
    load.stop();

    CHECK(flows.lost().empty());
    CHECK(flows.oddities() == 0);
    for (uint32_t flow = 0; flow < kFlows; flow++) {
      CAPTURE(flow);
      if (home[flow] == kOld) {
        CHECK(flows.servers(flow, taken) == std::set<uint32_t>{kNew});
        for (uint32_t server : flows.servers(flow)) CHECK((server == kOld || server == kNew));
      } else {
        CHECK(flows.servers(flow) == std::set<uint32_t>{home[flow]});
      }
    }
    status = daemon.status();
    CHECK(status.group(kGroup).home == flows.sent());
    CHECK(status.group(kGroup).alternative == 0);
    CHECK(status.group(kGroup).kernel == 0);
  }

  // More comes while the newcomer does not read than its queue would hold.
  TEST_CASE("a newcomer takes over when it first reads, and nothing is lost with default buffers") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off", kPatient);
    UdpServer old(machine, sole_instance(daemon, 0));
    UdpFlows flows(kAddress, kFlows);
    UdpServer newcomer(machine, late_successor(daemon));
    const pid_t pid = newcomer.process().pid();
    CHECK(member_of(daemon.status().group(kGroup), pid)->state == "pending");
    CHECK(flows.exchange(20));
    for (uint32_t owner : flows.owners()) CHECK(owner == 0);
    CHECK(daemon.status().group(kGroup).of(0)->pid == old.process().pid());

    PacedLoad load(flows);
    load.wait_rounds(5);
    newcomer.process().signal(SIGUSR1);
    REQUIRE(eventually(
        [&] { return member_of(daemon.status().group(kGroup), pid)->state == "active"; }));
    load.wait_rounds(20);
    load.stop();
    CHECK(flows.lost().empty());
    for (uint32_t owner : flows.owners()) CHECK(owner == 1);
  }

  TEST_CASE("a newcomer whose reading is not seen takes over when time is up") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer old(machine, sole_instance(daemon, 0));
    UdpServer newcomer(machine, late_successor(daemon));
    const pid_t pid = newcomer.process().pid();
    REQUIRE(eventually(
        [&] { return member_of(daemon.status().group(kGroup), pid)->state == "active"; }));
  }

  TEST_CASE("a newcomer that dies before it reads changes nothing; a holder that dies gives way") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off", kPatient);
    UdpServer old(machine, sole_instance(daemon, 0));
    UdpFlows flows(kAddress, kFlows);
    {
      UdpServer newcomer(machine, late_successor(daemon));
      newcomer.process().signal(SIGKILL);
      newcomer.process().wait();
    }
    CHECK(flows.exchange(5));
    for (uint32_t owner : flows.owners()) CHECK(owner == 0);
    UdpServer newcomer(machine, late_successor(daemon));
    const pid_t pid = newcomer.process().pid();
    daemon.kill9();
    daemon.start();
    CHECK(member_of(daemon.status().group(kGroup), pid)->state == "pending");
    old.process().signal(SIGKILL);
    old.process().wait();
    REQUIRE(eventually(
        [&] { return member_of(daemon.status().group(kGroup), pid)->state == "active"; }));
    newcomer.process().signal(SIGUSR1);
    CHECK(flows.exchange(5, 1));  // its queue is a short one
    for (uint32_t owner : flows.owners()) CHECK(owner == 1);
  }

  TEST_CASE("SUBSET_CONFLICT=refuse leaves the holder alone") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer holder(machine,
                     {.id = 0, .addresses = {kAddress}, .environment = daemon.environment("0/1")});
    Environment polite = daemon.environment("0/1");
    polite["SUBSET_CONFLICT"] = "refuse";
    auto second = run(machine, {.argv = udp_server_command(1, {kAddress}), .environment = polite});
    CHECK(second.status == 1);
    CHECK(second.err.find("bind: Device or resource busy") != std::string::npos);
    CHECK(lines_with(second.err, "subset:").size() == 1);

    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    for (uint32_t owner : flows.owners()) CHECK(owner == 0);
    CHECK(daemon.status().group(kGroup).members.size() == 1);
  }
}

}  // namespace
}  // namespace subset::test
