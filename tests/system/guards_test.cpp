// SPDX-License-Identifier: MIT
// What a server may do to its own socket that would change who gets the traffic of all. On a socket
// bound to the any-address the kernel lets connect(AF_UNSPEC), and SO_REUSEPORT=0 on any, put that
// one socket in front of the group: it gets everything, program or not, and nothing errors. Behind
// the shim neither may move a single flow. A connect to a peer is a server's good right: it leaves
// the group by that, and its share must go to the others.
//
// The servers are bound to 0.0.0.0, where it would hurt; without the shim's guards the first two
// cases fail: this was tried.
#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

using namespace std::chrono_literals;

constexpr char kBound[] = "0.0.0.0:5353";
constexpr char kAsked[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/0.0.0.0:5353";
constexpr uint32_t kFlows = 64;

UdpServer serve(Machine& machine, const DaemonProcess& daemon, uint32_t instance,
                const std::string& what) {
  return UdpServer(machine, {.id = instance,
                             .addresses = {kBound},
                             .environment = daemon.environment(std::to_string(instance) + "/2"),
                             .on_usr1 = what});
}

void make_it_do(UdpServer& server) {
  server.process().signal(SIGUSR1);
  REQUIRE(server.process().wrote("done"));
}

size_t of(uint32_t server, const std::vector<uint32_t>& owners) {
  return static_cast<size_t>(std::ranges::count(owners, server));
}

void check_moves_nothing(const std::string& what) {
  CAPTURE(what);
  Machine machine;
  DaemonProcess daemon(machine);
  UdpServer first = serve(machine, daemon, 0, what);
  UdpServer second = serve(machine, daemon, 1, what);
  UdpFlows flows(kAsked, kFlows);
  CHECK(flows.exchange(2));
  const std::vector<uint32_t> before = flows.owners();
  CHECK(of(0, before) > 0);
  CHECK(of(1, before) > 0);

  make_it_do(second);
  CHECK(flows.exchange(2));
  CHECK(flows.owners() == before);
  CHECK(flows.oddities() == 0);
  const Document status = daemon.status();
  CHECK(status.group(kGroup).active() == 2);
  CHECK(status.group(kGroup).selected() == 4 * kFlows);
}

TEST_SUITE("system") {
  TEST_CASE("connect(AF_UNSPEC) on a member moves nothing") {
    check_moves_nothing("dissolve");
  }

  TEST_CASE("SO_REUSEPORT=0 on a member moves nothing") {
    check_moves_nothing("unshare");
  }

  TEST_CASE("a member that connects has left, and its share is with the others") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer first = serve(machine, daemon, 0, "connect");
    UdpServer second = serve(machine, daemon, 1, "connect");
    make_it_do(second);
    // At once in the kernel: new flows are all answered, also before the daemon has planned anew.
    UdpFlows flows(kAsked, kFlows);
    CHECK(flows.exchange(2));
    CHECK(of(0, flows.owners()) == kFlows);
    CHECK(eventually([&] { return daemon.status().group(kGroup).active() == 1; }, 2s));
    // By then the table says so too.
    const uint64_t home = daemon.status().group(kGroup).home;
    UdpFlows later(kAsked, kFlows);
    CHECK(later.exchange(2));
    CHECK(daemon.status().group(kGroup).home == home + 2 * kFlows);
  }
}

}  // namespace
}  // namespace subset::test
