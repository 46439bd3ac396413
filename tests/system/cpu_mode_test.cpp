// SPDX-License-Identifier: MIT
// cpu mode: who is on CPU k is served by the members of CPU k, all of the time.
//
// Over the loopback a packet is received where it is sent, so a client that is pinned decides about
// the row of the table that its packets meet. The servers may use two CPUs and are not pinned,
// which is also what a container looks like: instance i belongs to the i-th of those two, in turn.
// Later they are pinned the other way round, and the daemon has to notice; at last all of one CPU
// are gone, and its clients have to be served by the others.
#include <csignal>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/cpus.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr uint32_t kInstances = 4;
constexpr uint32_t kFlows = 100;
constexpr uint32_t kTotal = 10'000;  // connections, and datagrams, of one client
constexpr uint32_t kFew = 500;

using Ids = std::set<uint32_t>;

// Asks so many times from one CPU, and gives back who answered.
using Client = Ids (*)(uint32_t cpu, uint32_t times);

Ids ask_udp(uint32_t cpu, uint32_t times) {
  OnCpus here({cpu});
  UdpFlows flows(kAddress, kFlows);
  CHECK(flows.exchange(times / kFlows));
  CHECK(flows.oddities() == 0);
  Ids ids;
  for (uint32_t flow = 0; flow < kFlows; flow++) ids.merge(flows.servers(flow));
  return ids;
}

Ids ask_tcp(uint32_t cpu, uint32_t times) {
  OnCpus here({cpu});
  Ids ids;
  for (const auto& [id, count] : visit(Address(kAddress), times)) ids.insert(id);
  return ids;
}

// Eventually, because an affinity that changes is seen at the daemon's next look.
bool served_by(Client client, uint32_t cpu, const Ids& ids) {
  return eventually([&] { return client(cpu, kFew) == ids; });
}

// A field of the namespace's Tcp counters (RFC 4022), of which one line has the names and the next
// one the values.
uint64_t tcp_counter(const std::string& name) {
  std::ifstream file("/proc/thread-self/net/snmp");
  std::string names;
  std::string values;
  while (std::getline(file, names) && !names.starts_with("Tcp:")) {
  }
  std::getline(file, values);
  std::istringstream name_words(names);
  std::istringstream value_words(values);
  std::string found;
  std::string value;
  while (name_words >> found && value_words >> value)
    if (found == name) return std::stoull(value);
  return 0;
}

// A datagram is a selection, and so is a connection. A packet that is sent again, or that comes
// when its connection is gone already and is answered by a reset, can be one more: on a machine
// that is busy enough, one in 20,000 connections has been.
uint64_t stray_packets() {
  return tcp_counter("RetransSegs") + tcp_counter("OutRsts");
}

template <typename Server>
void check_locality(DaemonProcess& daemon, const std::string& group, std::vector<Server>& servers,
                    const std::vector<uint32_t>& cpus, Client client) {
  const Ids even{0, 2};
  const Ids odd{1, 3};
  CHECK(client(cpus[0], kTotal) == even);
  CHECK(client(cpus[1], kTotal) == odd);
  Document status = daemon.status();
  CHECK(status.group(group).home >= 2 * kTotal);
  CHECK(status.group(group).home <= 2 * kTotal + stray_packets());
  CHECK(status.group(group).mode == "cpu");

  for (uint32_t i = 0; i < kInstances; i++)
    allow_cpus(servers[i].process().pid(), {cpus[(i + 1) % 2]});
  CHECK(served_by(client, cpus[0], odd));
  CHECK(client(cpus[0], kTotal) == odd);
  CHECK(client(cpus[1], kTotal) == even);

  servers[1].process().kill9();
  CHECK(served_by(client, cpus[0], {3}));
  servers[3].process().kill9();
  CHECK(client(cpus[0], kTotal) == even);
  CHECK(client(cpus[1], kTotal) == even);
  status = daemon.status();
  CHECK(status.group(group).kernel == 0);
  CHECK(status.group(group).refused == 0);
}

Environment cpu_mode() {
  return {{"SUBSET_MODE", "cpu"}};
}

std::vector<UdpServer> start_udp(Machine& machine, const DaemonProcess& daemon) {
  std::vector<UdpServer> servers;
  for (uint32_t i = 0; i < kInstances; i++) {
    std::string share = std::to_string(i).append("/4");
    Environment environment = daemon.environment(share);
    environment.merge(cpu_mode());
    servers.emplace_back(
        machine, UdpServerOptions{.id = i, .addresses = {kAddress}, .environment = environment});
  }
  return servers;
}

TEST_SUITE("system") {
  TEST_CASE("datagrams that arrive on CPU k reach the members of CPU k") {
    Machine machine;
    const std::vector<uint32_t> cpus = two_cpus();
    OnCpus both(cpus);
    DaemonProcess daemon(machine);
    auto servers = start_udp(machine, daemon);
    check_locality(daemon, "udp/127.0.0.1:7000", servers, cpus, ask_udp);
  }

  TEST_CASE("connections that arrive on CPU k reach the members of CPU k") {
    Machine machine;
    const std::vector<uint32_t> cpus = two_cpus();
    OnCpus both(cpus);
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(
        machine, daemon.socket(),
        {.total = kInstances, .address = kAddress, .environment = cpu_mode(), .arguments = {}});
    check_locality(daemon, "tcp/127.0.0.1:7000", servers, cpus, ask_tcp);
  }

  // The shim pins each instance to its part of the CPUs that it may use.
  TEST_CASE("SUBSET_PIN pins where cpu mode steers to") {
    Machine machine;
    const std::vector<uint32_t> cpus = two_cpus();
    OnCpus both(cpus);
    DaemonProcess daemon(machine);
    Environment environment = cpu_mode();
    environment.emplace("SUBSET_PIN", "1");
    auto servers = start_tcp_instances(
        machine, daemon.socket(),
        {.total = 2, .address = kAddress, .environment = environment, .arguments = {}});
    for (uint32_t i = 0; i < 2; i++) {
      CAPTURE(i);
      CHECK(affinity(servers[i].process().pid()) == std::vector<uint32_t>{cpus[i]});
      CHECK(ask_tcp(cpus[i], kFew) == Ids{i});
    }
  }
}

}  // namespace
}  // namespace subset::test
