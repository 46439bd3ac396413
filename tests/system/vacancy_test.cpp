// SPDX-License-Identifier: MIT
// Vacancy `refuse`: what would go to an instance that is away is turned away, so that its clients
// learn of it at once, and nobody else gets it. The kernel's rule is that of SK_DROP in a program
// of reuseport: it is as if no socket were there, which clients are told by ICMP (UDP) or a reset
// (TCP).
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kUdpGroup[] = "udp/127.0.0.1:5353";
constexpr char kTcpGroup[] = "tcp/127.0.0.1:5353";
constexpr uint32_t kInstances = 4;
constexpr uint32_t kVictim = 2;
constexpr uint32_t kFlows = 64;

Environment refusing(const DaemonProcess& daemon, uint32_t instance) {
  Environment environment =
      daemon.environment(std::to_string(instance) + "/" + std::to_string(kInstances));
  environment["SUBSET_VACANCY"] = "refuse";
  return environment;
}

UdpServer start(Machine& machine, const DaemonProcess& daemon, uint32_t instance) {
  return UdpServer(
      machine,
      {.id = instance, .addresses = {kAddress}, .environment = refusing(daemon, instance)});
}

TEST_SUITE("system") {
  TEST_CASE(
      "refuse: the flows of an instance that is away are turned away, those of others go on") {
    Machine machine;
    DaemonProcess daemon(machine);
    std::vector<UdpServer> servers;
    for (uint32_t i = 0; i < kInstances; i++) servers.push_back(start(machine, daemon, i));
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(4));
    const std::vector<uint32_t> home = flows.owners();
    const GroupStatus before = daemon.status().group(kUdpGroup);
    CHECK(before.refused == 0);

    servers[kVictim].process().kill9();
    REQUIRE(
        eventually([&] { return daemon.status().group(kUdpGroup).active() == kInstances - 1; }));
    UdpFlows later(kAddress, kFlows);
    later.send_round();
    later.drain();
    const GroupStatus after = daemon.status().group(kUdpGroup);
    const uint64_t refused = after.refused - before.refused;
    CHECK(refused > 0);
    CHECK(later.answered() + refused == kFlows);
    CHECK(later.oddities() == refused);  // an ICMP error each
    CHECK(after.alternative == before.alternative);
    CHECK(after.kernel == 0);

    servers[kVictim] = start(machine, daemon, kVictim);
    REQUIRE(eventually([&] { return daemon.status().group(kUdpGroup).active() == kInstances; }));
    UdpFlows again(kAddress, kFlows);
    CHECK(again.exchange(4));
    CHECK(daemon.status().group(kUdpGroup).refused == after.refused);
  }

  TEST_CASE("refuse: connections for an instance that is away are reset") {
    constexpr uint32_t kConnections = 64;
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(),
                                       {.total = kInstances,
                                        .address = kAddress,
                                        .environment = {{"SUBSET_VACANCY", "refuse"}},
                                        .arguments = {}});
    visit(Address(kAddress), kConnections);
    servers[kVictim].process().kill9();
    REQUIRE(
        eventually([&] { return daemon.status().group(kTcpGroup).active() == kInstances - 1; }));
    const GroupStatus before = daemon.status().group(kTcpGroup);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < kConnections; i++) {
      TcpClient client{Address(kAddress)};
      const auto server = client.server();
      if (!server) ++refused;
      CHECK((server || client.error() == ECONNREFUSED));
      CHECK(server != kVictim);
    }
    CHECK(refused > 0);
    CHECK(daemon.status().group(kTcpGroup).refused - before.refused == refused);
    CHECK(daemon.status().group(kTcpGroup).alternative == before.alternative);
  }
}

}  // namespace
}  // namespace subset::test
