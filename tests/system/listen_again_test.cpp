// SPDX-License-Identifier: MIT
// listen() more than once on one socket: the same again, with another backlog, and after a
// shutdown(). The last one leaves the kernel's group and the map, and rejoins the group alone: the
// shim has to register the socket again, or it would never be picked.
#include <csignal>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/tcp_client.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:8080";
constexpr char kGroup[] = "tcp/127.0.0.1:8080";
constexpr uint32_t kConnections = 200;

std::vector<Process> start_two(Machine& machine, const DaemonProcess& daemon,
                               const std::string& way) {
  std::vector<Process> servers;
  for (const char* share : {"0/2", "1/2"}) {
    servers.emplace_back(machine, Command{.argv = {"/usr/bin/python3",
                                                   source("tests/system/servers/listen_again.py"),
                                                   way, "127.0.0.1", "8080"},
                                          .environment = daemon.environment(share)});
    REQUIRE(servers.back().wrote("ready"));
  }
  return servers;
}

uint32_t id_of(const Process& server) {
  return static_cast<uint32_t>(server.pid());
}

// Both are served, each about half of the time: a hundred, give or take five standard deviations.
void check_both_serve(const std::vector<Process>& servers) {
  const Tally tally = visit(Address(kAddress), kConnections);
  for (const Process& server : servers) {
    REQUIRE(tally.contains(id_of(server)));
    CHECK(tally.at(id_of(server)) > 64);
  }
}

void check_steered(const DaemonProcess& daemon, uint64_t connections) {
  Document status = daemon.status();
  const GroupStatus& group = status.group(kGroup);
  CHECK(group.active() == 2);
  CHECK(group.home + group.alternative == connections);
  CHECK(group.kernel == 0);
  CHECK(group.members.size() == 2);
}

void order(const Process& server, int signal, const std::string& confirmation) {
  server.signal(signal);
  REQUIRE(server.wrote(confirmation));
}

TEST_SUITE("system") {
  TEST_CASE("a second listen changes nothing") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, "same");
    for (Process& server : servers) order(server, SIGUSR1, "again");
    check_both_serve(servers);
    check_steered(daemon, kConnections);
  }

  TEST_CASE("a listen with another backlog is seen") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, "backlog");
    Document status = daemon.status();
    CHECK(status.group(kGroup).of(1)->backlog_limit == 64);
    order(servers[1], SIGUSR1, "again");
    check_both_serve(servers);
    check_steered(daemon, kConnections);
    status = daemon.status();
    CHECK(status.group(kGroup).of(0)->backlog_limit == 64);
    CHECK(status.group(kGroup).of(1)->backlog_limit == 512);
  }

  // While it does not listen the other one serves all.
  TEST_CASE("shutdown and listen: it comes back to its share") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, "shutdown");
    check_both_serve(servers);
    order(servers[1], SIGUSR2, "stopped");
    CHECK(visit(Address(kAddress), kConnections) == Tally{{id_of(servers[0]), kConnections}});
    order(servers[1], SIGUSR1, "again");
    check_both_serve(servers);
    check_steered(daemon, 3 * kConnections);
  }

  // The daemon notices within a second that it has stopped: then, too.
  TEST_CASE("shutdown, and listen when the daemon has given it up") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, "shutdown");
    order(servers[1], SIGUSR2, "stopped");
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).active() == 1; }));
    order(servers[1], SIGUSR1, "again");
    check_both_serve(servers);
    check_steered(daemon, kConnections);
  }

  // Nor does a daemon that starts meanwhile take a tagged socket that does not listen for a member
  // that drains.
  TEST_CASE("shutdown, another daemon, and listen") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, "shutdown");
    order(servers[1], SIGUSR2, "stopped");
    daemon.kill9();
    daemon.start();
    order(servers[1], SIGUSR1, "again");
    check_both_serve(servers);
    check_steered(daemon, kConnections);
  }
}

}  // namespace
}  // namespace subset::test
