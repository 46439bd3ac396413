// SPDX-License-Identifier: MIT
// A group that has lost its last member: it is known for a while, so that a server that is
// restarted as a whole goes on counting, and then nothing of it is left, neither in the daemon nor
// in the kernel; also where it happened while no daemon ran.
#include <string>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/kernel_objects.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kUdp[] = "udp/127.0.0.1:5353";
constexpr char kTcp[] = "tcp/127.0.0.1:5353";
constexpr char kSecond[] = "[groups]\nlinger_seconds = 1\n";
constexpr char kLong[] = "[groups]\nlinger_seconds = 3600\n";

struct Servers {
  Servers(Machine& machine, const DaemonProcess& daemon)
      : udp(start_instances(machine, daemon, 4, kAddress)),
        tcp(machine, {.address = kAddress, .environment = daemon.environment("0/2")}) {}
  std::vector<UdpServer> udp;
  TcpServer tcp;
};

TEST_SUITE("system") {
  TEST_CASE("nothing is left of a group whose last member is long gone") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off", kSecond);
    KernelObjects objects(machine, daemon);
    objects.note();
    {
      const Servers servers(machine, daemon);
      CHECK(UdpFlows(kAddress, 16).exchange(5));
      objects.note();
      CHECK(daemon.status().groups.size() == 2);
      CHECK(group_pins(daemon).size() == 2);
      SUBCASE("the daemon sees them go") {}
      SUBCASE("they go while no daemon runs") {
        daemon.kill9();
      }
    }
    if (!daemon.alive()) daemon.start();
    objects.note();
    CHECK(eventually([&] { return daemon.status().groups.empty(); }));
    CHECK(group_pins(daemon).empty());
    CHECK(objects.leftover(0).empty());

    const Servers servers(machine, daemon);
    UdpFlows flows(kAddress, 16);
    CHECK(flows.exchange(5));
    CHECK(daemon.status().group(kUdp).home == flows.sent());
    CHECK(daemon.status().group(kTcp).active() == 1);
  }

  TEST_CASE("a server that is restarted as a whole goes on counting") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off", kLong);
    uint64_t before = 0;
    {
      auto servers = start_instances(machine, daemon, 4, kAddress);
      UdpFlows flows(kAddress, 16);
      CHECK(flows.exchange(5));
      before = flows.sent();
    }
    SUBCASE("the same daemon") {}
    SUBCASE("another daemon meanwhile") {
      daemon.kill9();
      daemon.start();
    }
    CHECK(eventually([&] { return daemon.status().group(kUdp).active() == 0; }));
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, 16);
    CHECK(flows.exchange(5));
    CHECK(daemon.status().group(kUdp).home == before + flows.sent());
  }
}

}  // namespace
}  // namespace subset::test
