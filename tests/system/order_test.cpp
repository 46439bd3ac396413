// SPDX-License-Identifier: MIT
// The promise of the option: datagrams of one 4-tuple go to one member, in order.
//
// What could break it: a table that is flipped while a flow is on its way, a second program or the
// kernel's own hash that picks for some datagrams only, a selection that depends on the CPU. The
// order is checked where it matters, at the servers, each of which writes down what reached it; a
// flow that two servers saw, a gap or a swap shows there even if every datagram was answered.
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
constexpr uint32_t kEach = 10'000;

TEST_SUITE("system") {
  TEST_CASE("64 flows of 10,000 datagrams through 8 instances stay whole and in order") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(kEach));
    CHECK(flows.oddities() == 0);

    Document status = daemon.status();
    const GroupStatus& group = status.group(kGroup);
    CHECK(group.home == uint64_t{kFlows} * kEach);
    CHECK(group.alternative == 0);
    CHECK(group.kernel == 0);

    std::vector<uint32_t> servers_of_flow(kFlows, 0);
    for (UdpServer& server : servers) {
      CAPTURE(server.id());
      uint64_t received = 0;
      for (const auto& entry : server.report()) {
        uint32_t flow = entry.first;
        const UdpServer::Flow& seen = entry.second;
        CAPTURE(flow);
        REQUIRE(flow < kFlows);
        servers_of_flow[flow]++;
        CHECK(seen.count == kEach);
        CHECK(seen.disorder == 0);
        received += seen.count;
      }
      const MemberStatus* member = group.of(server.id());
      REQUIRE(member != nullptr);
      CHECK(member->selected == received);
    }
    CHECK(servers_of_flow == std::vector<uint32_t>(kFlows, 1));
  }
}

}  // namespace
}  // namespace subset::test
