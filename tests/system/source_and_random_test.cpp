// SPDX-License-Identifier: MIT
// source mode keeps a client, whatever its port, at one member, over changes that are none of its
// own: a daemon that restarts or a group that grows beyond its maps puts a new program in place,
// and that must hash as the old one did. random mode keeps nothing together.
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr uint32_t kInstances = 4;
constexpr uint32_t kFlows = 16;

constexpr uint32_t kClients = 40;
constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kGroup[] = "udp/127.0.0.1:7000";

std::string client_address(uint32_t client) {
  return "127.0.1." + std::to_string(client + 1) + ":0";
}

// Who serves each client; it has to be one, over all of its ports.
std::vector<uint32_t> owners() {
  std::vector<uint32_t> result;
  for (uint32_t client = 0; client < kClients; client++) {
    UdpFlows flows(kAddress, kFlows, client_address(client));
    REQUIRE(flows.exchange(2));
    const auto ids = flows.owners();
    CHECK(std::set<uint32_t>(ids.begin(), ids.end()).size() == 1);
    result.push_back(ids.front());
  }
  return result;
}

TEST_SUITE("system") {
  TEST_CASE("source: one client, one member, also after a restart of the daemon") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    tell(daemon, kGroup, mode(Mode::Source));
    const auto before = owners();
    CHECK(std::set<uint32_t>(before.begin(), before.end()).size() == kInstances);
    daemon.kill9();
    CHECK(owners() == before);
    daemon.start();
    CHECK(owners() == before);
    tell(daemon, kGroup, mode(Mode::Hash));
    tell(daemon, kGroup, mode(Mode::Source));
    CHECK(owners() == before);
  }

  TEST_CASE("random: the datagrams of one flow go to everybody") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, kInstances, kAddress);
    tell(daemon, kGroup, mode(Mode::Random));
    UdpFlows flow(kAddress, 1);
    REQUIRE(flow.exchange(2000));
    CHECK(flow.servers(0).size() == kInstances);
    Document status = daemon.status();
    for (uint32_t i = 0; i < kInstances; i++) {
      CAPTURE(i);
      const auto selected = static_cast<double>(status.group(kGroup).of(i)->selected);
      CHECK(selected == doctest::Approx(500).epsilon(0.2));
    }
  }
}

}  // namespace
}  // namespace subset::test
