// SPDX-License-Identifier: MIT
// The ways to say which share a server wants, and the kinds of addresses it may want it at.
#include <sys/socket.h>
#include <sys/time.h>

#include <csignal>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kFlows = 64;

std::set<uint32_t> ask(const std::string& address) {
  UdpFlows flows(address, kFlows);
  CHECK(flows.exchange(10));
  CHECK(flows.oddities() == 0);
  std::set<uint32_t> servers;
  for (uint32_t flow = 0; flow < kFlows; flow++) {
    CHECK(flows.servers(flow).size() == 1);
    servers.merge(flows.servers(flow));
  }
  return servers;
}

UdpServer start(Machine& machine, const DaemonProcess& daemon, uint32_t id,
                const std::string& share, const std::vector<std::string>& addresses = {kAddress}) {
  return UdpServer(machine,
                   {.id = id, .addresses = addresses, .environment = daemon.environment(share)});
}

// Servers 0 and 1, with ids from `base` on.
std::vector<UdpServer> start_two(Machine& machine, const DaemonProcess& daemon, uint32_t base,
                                 const std::vector<std::string>& addresses) {
  std::vector<UdpServer> servers;
  servers.push_back(start(machine, daemon, base, "0/2", addresses));
  servers.push_back(start(machine, daemon, base + 1, "1/2", addresses));
  return servers;
}

std::set<uint32_t> active_instances(const GroupStatus& group) {
  std::set<uint32_t> instances;
  for (const MemberStatus& member : group.members) {
    if (member.state == "active") instances.insert(member.instance);
  }
  return instances;
}

bool has_grown_to(const DaemonProcess& daemon, uint32_t total) {
  return eventually([&] {
    Document status = daemon.status();
    const GroupStatus& group = status.group(kGroup);
    return group.total == total && group.active() == total;
  });
}

// What a new flow's first datagram is answered with.
std::string ask_once(const std::string& address, const std::string& text) {
  Address server(address);
  Fd socket(checked(::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  timeval patience{.tv_sec = 5};
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience),
          "SO_RCVTIMEO");
  checked(connect(socket.get(), server.get(), server.size()), "connect");
  checked(send(socket.get(), text.data(), text.size(), 0), "send");
  std::string answer(256, '\0');
  answer.resize(
      static_cast<size_t>(checked(recv(socket.get(), answer.data(), answer.size(), 0), "recv")));
  return answer;
}

TEST_SUITE("system") {
  // The first use in the paper: one process, a thread and a socket for each share.
  TEST_CASE("four threads declare their shares with SO_SUBSET") {
    Machine machine;
    DaemonProcess daemon(machine);
    Environment environment = daemon.environment("");
    environment.erase("SUBSET");
    Process threads(machine, {.argv = {built("examples/four_threads"), "127.0.0.1", "5353"},
                              .environment = environment});
    REQUIRE(threads.wrote("serving"));
    for (const char* line : {"thread 0: instance 0 of 4", "thread 3: instance 3 of 4"}) {
      CHECK(lines_with(threads.out(), line).size() == 1);
    }

    std::set<std::string> answers;
    for (uint32_t i = 0; i < kFlows; i++) answers.insert(ask_once(kAddress, "hi"));
    CHECK(answers == std::set<std::string>{"0/4: hi", "1/4: hi", "2/4: hi", "3/4: hi"});
    Document status = daemon.status();
    CHECK(active_instances(status.group(kGroup)) == std::set<uint32_t>{0, 1, 2, 3});
    CHECK(status.group(kGroup).home == kFlows);
    for (const MemberStatus& member : status.group(kGroup).members) {
      CHECK(member.pid == threads.pid());
    }
    threads.signal(SIGTERM);
    CHECK(threads.wait() == 0);
    CHECK(threads.err().empty());
  }

  TEST_CASE("without the shim the four threads say so and go on") {
    Machine machine;
    Process threads(machine, {.argv = {built("examples/four_threads"), "127.0.0.1", "5353"}});
    REQUIRE(threads.wrote("serving"));
    CHECK(lines_with(threads.out(), "SO_SUBSET is not there").size() == 1);
    CHECK(ask_once(kAddress, "hi").ends_with("/4: hi"));
  }

  TEST_CASE("auto/4 gives each server a vacant instance, and turns the fifth away") {
    Machine machine;
    DaemonProcess daemon(machine);
    std::vector<UdpServer> servers;
    for (uint32_t i = 0; i < 4; i++) servers.push_back(start(machine, daemon, i, "auto/4"));
    Document status = daemon.status();
    CHECK(status.group(kGroup).total == 4);
    CHECK(active_instances(status.group(kGroup)) == std::set<uint32_t>{0, 1, 2, 3});
    CHECK(ask(kAddress) == std::set<uint32_t>{0, 1, 2, 3});

    auto fifth = run(machine, {.argv = udp_server_command(4, {kAddress}),
                               .environment = daemon.environment("auto/4")});
    CHECK(fifth.status == 1);
    CHECK(fifth.err.find("bind: Device or resource busy") != std::string::npos);
    CHECK(lines_with(fifth.err, "subset:").size() == 1);

    // A vacancy is filled by the next one.
    servers[2].process().kill9();
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).active() == 3; }));
    servers[2] = start(machine, daemon, 5, "auto/4");
    CHECK(daemon.status().group(kGroup).active() == 4);
    CHECK(ask(kAddress) == std::set<uint32_t>{0, 1, 3, 5});
  }

  TEST_CASE("with auto the total follows the servers") {
    Machine machine;
    DaemonProcess daemon(machine);
    std::vector<UdpServer> servers;
    std::set<uint32_t> ids;
    for (uint32_t i = 0; i < 3; i++) {
      servers.push_back(start(machine, daemon, i, "auto"));
      ids.insert(i);
      CHECK(has_grown_to(daemon, i + 1));
      CHECK(ask(kAddress) == ids);
    }
    servers[0].process().kill9();
    CHECK(has_grown_to(daemon, 2));
    CHECK(ask(kAddress) == std::set<uint32_t>{1, 2});
  }

  TEST_CASE("one server binds IPv4 and IPv6: one instance in two groups") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, 0, {"127.0.0.1:5353", "[::1]:5353"});
    CHECK(ask("127.0.0.1:5353") == std::set<uint32_t>{0, 1});
    CHECK(ask("[::1]:5353") == std::set<uint32_t>{0, 1});
    Document status = daemon.status();
    for (const char* id : {"udp/127.0.0.1:5353", "udp/[::1]:5353"}) {
      CAPTURE(id);
      CHECK(active_instances(status.group(id)) == std::set<uint32_t>{0, 1});
      CHECK(status.group(id).home == kFlows * 10);
    }
  }

  // The more specific address wins in the kernel, and is a group of its own. (A server at the
  // wildcard answers from 127.0.0.1, the preferred source of loopback: clients ask it there.)
  TEST_CASE("wildcard and specific addresses are groups beside each other") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto wildcard = start_two(machine, daemon, 0, {"0.0.0.0:5353"});
    auto specific = start_two(machine, daemon, 10, {"127.0.0.2:5353"});
    CHECK(ask("127.0.0.2:5353") == std::set<uint32_t>{10, 11});
    CHECK(ask("127.0.0.1:5353") == std::set<uint32_t>{0, 1});
    Document status = daemon.status();
    CHECK(status.group("udp/0.0.0.0:5353").home == kFlows * 10);
    CHECK(status.group("udp/127.0.0.2:5353").home == kFlows * 10);
  }

  TEST_CASE("the IPv6 wildcard takes IPv4 clients along") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_two(machine, daemon, 0, {"[::]:5353"});
    CHECK(ask("[::1]:5353") == std::set<uint32_t>{0, 1});
    CHECK(ask("127.0.0.1:5353") == std::set<uint32_t>{0, 1});
    CHECK(daemon.status().group("udp/[::]:5353").home == kFlows * 20);
  }

  // Two ports match nobody's rule: those sockets are left alone.
  TEST_CASE("SUBSET_MATCH picks the sockets that are steered") {
    Machine machine;
    DaemonProcess daemon(machine);
    Environment environment = daemon.environment("0/2");
    environment["SUBSET_MATCH"] = "udp:127.0.0.1:5353,udp:[::1]:6000-6010,tcp";
    UdpServer server(machine, {.id = 0,
                               .addresses = {"127.0.0.1:5353", "127.0.0.2:5353", "[::1]:6003",
                                             "127.0.0.1:6003", "[::1]:6011"},
                               .environment = environment});
    Document status = daemon.status();
    CHECK(status.groups.size() == 2);
    CHECK(status.find("udp/127.0.0.1:5353") != nullptr);
    CHECK(status.find("udp/[::1]:6003") != nullptr);
  }
}

}  // namespace
}  // namespace subset::test
