// SPDX-License-Identifier: MIT
// What the daemon may do, and what it holds: three capabilities, and no member's socket. A socket
// lives in the kernel until its last descriptor is closed; a daemon that kept one would keep the
// share of a dead worker, and datagrams would go on into a queue that nobody reads.
#include <linux/capability.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";

constexpr uint64_t bit(int capability) {
  return uint64_t{1} << capability;
}
constexpr uint64_t kNeeded = bit(CAP_BPF) | bit(CAP_PERFMON) | bit(CAP_NET_ADMIN);

uint64_t capabilities(const DaemonProcess& daemon, const char* set) {
  return std::stoull(daemon.kernel_says(set), nullptr, 16);
}

// The sockets among a process' descriptors.
std::vector<std::string> sockets_of(pid_t pid) {
  auto names = descriptor_names(pid);
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("socket:"); });
  return names;
}

size_t active_members(const DaemonProcess& daemon) {
  Document status = daemon.status();
  const GroupStatus* group = status.find(kGroup);
  return group ? group->active() : 0;
}

// A group comes and goes.
void start_and_end(Machine& machine, const DaemonProcess& daemon) {
  {
    auto servers = start_instances(machine, daemon, 8, kAddress);
    CHECK(active_members(daemon) == 8);
  }
  REQUIRE(eventually([&] { return active_members(daemon) == 0; }));
}

TEST_SUITE("system") {
  TEST_CASE("the daemon runs with exactly its three capabilities") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    CHECK(capabilities(daemon, "CapEff") == kNeeded);
    CHECK(capabilities(daemon, "CapPrm") == kNeeded);
    CHECK(capabilities(daemon, "CapInh") == 0);
    CHECK(capabilities(daemon, "CapAmb") == 0);
    // Nor can it get others back by starting something.
    CHECK((capabilities(daemon, "CapBnd") & ~kNeeded) == 0);
  }

  TEST_CASE("the daemon holds no member's socket") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 8, kAddress);
    CHECK(daemon.status().group(kGroup).active() == 8);
    auto held = daemon.descriptor_names();
    for (UdpServer& server : servers) {
      auto own = sockets_of(server.process().pid());
      REQUIRE(own.size() == 1);
      CHECK(std::count(held.begin(), held.end(), own.front()) == 0);
    }

    // The moment the last process is gone the address is free, even without SO_REUSEPORT.
    for (UdpServer& server : servers) server.process().kill9();
    Fd fresh(checked(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    Address address(kAddress);
    CHECK(bind(fresh.get(), address.get(), address.size()) == 0);
    fresh.reset();

    // What the daemon keeps for a group until it comes back may stay, but must not grow.
    start_and_end(machine, daemon);
    size_t settled = daemon.idle_descriptors();
    for (int round = 0; round < 3; round++) start_and_end(machine, daemon);
    CHECK(eventually([&] { return daemon.descriptors() <= settled; }));
  }
}

}  // namespace
}  // namespace subset::test
