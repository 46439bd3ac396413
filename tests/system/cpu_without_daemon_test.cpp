// SPDX-License-Identifier: MIT
// cpu mode for nobody special on a machine without a daemon: the shim attaches a classic BPF
// program, which needs no privilege, and whose answer is the CPU modulo the total. The kernel takes
// that as the index of a socket in the order of their binds: here that is the order of instances.
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/cpus.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr uint32_t kFlows = 50;
constexpr uint32_t kConnections = 500;

Environment environment_of(Machine& machine, uint32_t instance) {
  Environment environment =
      shim_environment(machine.file("nobody"), std::to_string(instance).append("/2"));
  environment.emplace("SUBSET_MODE", "cpu");
  return environment;
}

TEST_SUITE("system") {
  TEST_CASE("without a daemon the CPU decides about datagrams") {
    Machine machine;
    std::vector<UdpServer> servers;
    for (uint32_t i = 0; i < 2; i++) {
      servers.emplace_back(machine, UdpServerOptions{.id = i,
                                                     .addresses = {kAddress},
                                                     .environment = environment_of(machine, i),
                                                     .user = kNobody});
      CHECK(lines_with(servers.back().process().err(), "subset:").size() == 1);
    }
    for (uint32_t cpu : two_cpus()) {
      CAPTURE(cpu);
      OnCpus here({cpu});
      UdpFlows flows(kAddress, kFlows);
      CHECK(flows.exchange(10));
      for (uint32_t flow = 0; flow < kFlows; flow++)
        CHECK(flows.servers(flow) == std::set<uint32_t>{cpu % 2});
    }
  }

  TEST_CASE("and about connections") {
    Machine machine;
    std::vector<TcpServer> servers;
    for (uint32_t i = 0; i < 2; i++) {
      servers.emplace_back(machine, TcpServerOptions{.id = i,
                                                     .address = kAddress,
                                                     .environment = environment_of(machine, i),
                                                     .arguments = {},
                                                     .user = kNobody});
      CHECK(lines_with(servers.back().process().err(), "the CPU decides").size() == 1);
    }
    for (uint32_t cpu : two_cpus()) {
      CAPTURE(cpu);
      OnCpus here({cpu});
      CHECK(visit(Address(kAddress), kConnections) == Tally{{cpu % 2, kConnections}});
    }
  }
}

}  // namespace
}  // namespace subset::test
