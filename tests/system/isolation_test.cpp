// SPDX-License-Identifier: MIT
// Groups are the kernel's: by network namespace and by owner. One daemon serves them all, so its
// own state has to be keyed as the kernel's is; the address alone is not a name.
#include <csignal>
#include <set>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/network.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kFlows = 64;

std::set<uint32_t> all_servers(const UdpFlows& flows) {
  std::set<uint32_t> result;
  for (uint32_t flow = 0; flow < flows.count(); flow++) result.merge(flows.servers(flow));
  return result;
}

std::set<uint64_t> cookies(const GroupStatus& group) {
  std::set<uint64_t> result;
  for (const MemberStatus& member : group.members) result.insert(member.cookie);
  return result;
}

struct Pair {
  UdpServer first;
  UdpServer second;
};

// Instances 0/2 and 1/2 with ids `base` and `base` + 1.
Pair start_pair(Machine& machine, const DaemonProcess& daemon, uint32_t base,
                UdpServerOptions common) {
  auto start = [&](uint32_t instance) {
    UdpServerOptions options = common;
    options.id = base + instance;
    options.addresses = {kAddress};
    options.environment = daemon.environment(std::to_string(instance) + "/2");
    return UdpServer(machine, options);
  };
  return {start(0), start(1)};
}

TEST_SUITE("system") {
  TEST_CASE("one address in two network namespaces is two groups") {
    Machine machine;
    DaemonProcess daemon(machine);
    OtherNetwork other;
    Pair here = start_pair(machine, daemon, 0, {});
    Pair there = start_pair(machine, daemon, 10, {.network = other.fd()});
    std::string other_group = std::string(kGroup) + "@" + std::to_string(other.inode());

    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    CHECK(all_servers(flows) == std::set<uint32_t>{0, 1});
    other.run([&] {
      UdpFlows others(kAddress, kFlows);
      CHECK(others.exchange(20));
      CHECK(all_servers(others) == std::set<uint32_t>{10, 11});
    });

    Document status = daemon.status();
    CHECK(status.groups.size() == 2);
    CHECK(status.group(kGroup).netns == network_inode());
    CHECK(status.group(kGroup).selected() == kFlows * 10);
    CHECK(status.group(other_group).netns == other.inode());
    CHECK(status.group(other_group).selected() == kFlows * 20);

    // What happens to one does not happen to the other.
    there.first.process().kill9();
    REQUIRE(eventually([&] { return daemon.status().group(other_group).active() == 1; }));
    CHECK(daemon.status().group(kGroup).active() == 2);
    other.run([&] {
      UdpFlows others(kAddress, kFlows);
      CHECK(others.exchange(10));
      CHECK(all_servers(others) == std::set<uint32_t>{11});
    });
    auto before = flows.owners();
    CHECK(flows.exchange(10));
    CHECK(flows.owners() == before);
    CHECK(flows.lost().empty());
  }

  // With SO_REUSEPORT alone the kernel itself turns another owner away.
  TEST_CASE("another user's server cannot bind beside a group") {
    Machine machine;
    DaemonProcess daemon(machine);
    Pair servers = start_pair(machine, daemon, 0, {});
    auto members = cookies(daemon.status().group(kGroup));

    auto stranger = run(machine, {.argv = udp_server_command(99, {kAddress}),
                                  .environment = daemon.environment("1/2"),
                                  .user = kNobody});
    CHECK(stranger.status == 1);
    CHECK(stranger.err.find("bind: Address already in use") != std::string::npos);

    Document status = daemon.status();
    CHECK(status.groups.size() == 1);
    CHECK(cookies(status.group(kGroup)) == members);
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    CHECK(all_servers(flows) == std::set<uint32_t>{0, 1});
  }

  TEST_CASE("another user's TCP server cannot listen beside a group") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto command = [&](uint32_t id) {
      return std::vector<std::string>{built("tests/system/tcp_server"), "--id", std::to_string(id),
                                      "127.0.0.1:8080"};
    };
    Process server(machine, {.argv = command(0), .environment = daemon.environment("0/2")});
    REQUIRE(server.wrote("ready"));

    auto stranger = run(
        machine, {.argv = command(99), .environment = daemon.environment("1/2"), .user = kNobody});
    CHECK(stranger.status == 1);
    CHECK(stranger.err.find("Address already in use") != std::string::npos);
    CHECK(daemon.status().groups.size() <= 1);
    CHECK(daemon.status().of_user(kNobody) == nullptr);
  }

  // With SO_REUSEADDR as well, UDP lets another owner bind, into a kernel group of its own that
  // takes the traffic. That is the kernel's decision; ours is that root's group, its map and its
  // members stay what they were, and that the stranger's socket is in none of them.
  TEST_CASE("another user's socket on the same address does not enter the group's map") {
    Machine machine;
    DaemonProcess daemon(machine);
    Pair servers = start_pair(machine, daemon, 0, {.reuse = true});
    auto members = cookies(daemon.status().group(kGroup));

    Process stranger(machine, {.argv =
                                   [] {
                                     auto argv = udp_server_command(99, {kAddress});
                                     argv.emplace_back("--reuse");
                                     return argv;
                                   }(),
                               .environment = daemon.environment("1/2"),
                               .user = kNobody});
    REQUIRE(eventually([&] { return stranger.wrote("ready") || !stranger.alive(); }));
    Document status = daemon.status();
    const GroupStatus* group = status.of_user(0);
    REQUIRE(group != nullptr);
    CHECK(group->total == 2);
    CHECK(cookies(*group) == members);

    // Once it has gone, the group has its traffic again: all of it, on its two members.
    stranger.kill9();
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    CHECK(all_servers(flows) == std::set<uint32_t>{0, 1});
  }

  TEST_CASE("each user has groups of their own") {
    Machine machine;
    DaemonProcess daemon(machine);
    Pair servers = start_pair(machine, daemon, 0, {.user = kNobody});
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(10));
    CHECK(all_servers(flows) == std::set<uint32_t>{0, 1});
    Document status = daemon.status();
    CHECK(status.group(kGroup).uid == kNobody);
    CHECK(status.group(kGroup).selected() == kFlows * 10);
  }
}

}  // namespace
}  // namespace subset::test
