// SPDX-License-Identifier: MIT
// Servers with a reuseport program of their own. The kernel keeps one program for all sockets of a
// group, whoever attached it, and says nothing when it is replaced: counters merely stand still. So
// the daemon looks which program is there, exactly, by the map that it jumps by. A program that the
// server attached stays, also when more of its instances join; the group is shown as foreign, in
// status, log and events, and to the servers themselves.
//
// Here the test holds a socket of the group, without the shim, and attaches what a server would.
#include <linux/filter.h>
#include <sys/socket.h>

#include <doctest/doctest.h>

#include "daemon/base/fd.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/hand_made.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

using namespace std::chrono_literals;

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";

// "The socket that was bound first", for every datagram.
void attach_constant(int fd) {
  sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  const sock_fprog attached = {.len = 1, .filter = program};
  REQUIRE(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) == 0);
}

void detach_any(int fd) {
  const int unused = 0;
  REQUIRE(setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof unused) == 0);
}

UdpServer serve(Machine& machine, const DaemonProcess& daemon, uint32_t instance) {
  return UdpServer(machine, {.id = instance,
                             .addresses = {kAddress},
                             .environment = daemon.environment(std::to_string(instance) + "/2")});
}

bool becomes(const DaemonProcess& daemon, bool foreign) {
  return eventually([&] { return daemon.status().group(kGroup).foreign == foreign; }, 2s);
}

// A listener that uses the loopback alone, from before its listen or from after it.
Fd confined_listener(bool early) {
  const Address address(kAddress);
  Fd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  const char device[] = "lo";
  const auto confine = [&] {
    REQUIRE(setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device, sizeof device) == 0);
  };
  REQUIRE(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0);
  if (early) confine();
  REQUIRE(bind(fd.get(), address.get(), address.size()) == 0);
  REQUIRE(listen(fd.get(), 8) == 0);
  if (!early) confine();
  return fd;
}

// How many of 64 flows this server answers; all must be answered by somebody.
size_t answered_by(uint32_t server) {
  UdpFlows flows(kAddress, 64);
  CHECK(flows.exchange(2));
  size_t count = 0;
  for (const uint32_t owner : flows.owners()) count += owner == server ? 1 : 0;
  return count;
}

TEST_SUITE("system") {
  TEST_CASE("a program that the server attached stays, and the group is reported as foreign") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer first = serve(machine, daemon, 0);
    CHECK_FALSE(daemon.status().group(kGroup).foreign);
    {
      Fd fd = shared_socket(kAddress);
      attach_constant(fd.get());
    }
    CHECK(becomes(daemon, true));
    CHECK(daemon.err().find("foreign: a program that the server attached") != std::string::npos);

    // One more instance, at once: nothing is attached over it, and the newcomer is told.
    UdpServer second = serve(machine, daemon, 1);
    CHECK(daemon.status().group(kGroup).foreign);
    CHECK(second.process().err().find("a program that the server attached") != std::string::npos);
    CHECK(answered_by(0) == 64);
    CHECK(daemon.status().group(kGroup).selected() == 0);

    // It stays so for a daemon that starts later.
    daemon.kill9();
    daemon.start();
    CHECK(becomes(daemon, true));
    CHECK(answered_by(0) == 64);

    // It ends with the sockets that it was attached to.
    first.process().kill9();
    second.process().kill9();
    UdpServer third = serve(machine, daemon, 0);
    UdpServer fourth = serve(machine, daemon, 1);
    CHECK_FALSE(daemon.status().group(kGroup).foreign);
    CHECK(answered_by(0) < 64);
    CHECK(daemon.status().group(kGroup).selected() == 128);
  }

  TEST_CASE("an instance that joins right after one attached its program") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer first = serve(machine, daemon, 0);
    Fd fd = shared_socket(kAddress);
    attach_constant(fd.get());
    UdpServer second = serve(machine, daemon, 1);
    CHECK(daemon.status().group(kGroup).foreign);
    CHECK(answered_by(0) == 64);
  }

  TEST_CASE("a program that was detached is reported, and back with the next member") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer first = serve(machine, daemon, 0);
    {
      Fd fd = shared_socket(kAddress);
      detach_any(fd.get());
    }
    CHECK(becomes(daemon, true));
    CHECK(daemon.err().find("the kernel's hash decides") != std::string::npos);
    UdpServer second = serve(machine, daemon, 1);
    CHECK_FALSE(daemon.status().group(kGroup).foreign);
    CHECK(answered_by(0) < 64);
    CHECK(daemon.status().group(kGroup).selected() == 128);
  }

  // In cpu mode without a daemon the shim attaches a classic program: that one is ours to replace.
  TEST_CASE("what the shim attached for lack of a daemon gives way to the daemon's") {
    Machine machine;
    Environment alone = shim_environment(machine.file("socket.0"), "0/2");
    alone["SUBSET_MODE"] = "cpu";
    UdpServer first(machine, {.id = 0, .addresses = {kAddress}, .environment = alone});
    CHECK(first.process().err().find("the CPU decides") != std::string::npos);
    DaemonProcess daemon(machine);
    UdpServer second = serve(machine, daemon, 1);
    CHECK_FALSE(daemon.status().group(kGroup).foreign);
    CHECK(answered_by(1) == 64);  // the first is no member
  }

  // A listener that is confined to a device only after its listen has the address of the others'
  // group, as far as anybody can ask, but is in another group of the kernel's.
  TEST_CASE("a member that is in another group of the kernel's than the others raises an alarm") {
    Machine machine;
    DaemonProcess daemon(machine);
    std::vector<Fd> listeners;
    for (uint32_t instance = 0; instance < 3; instance++) {
      listeners.push_back(confined_listener(instance < 2));
      CHECK(answer_to(daemon.socket(), bytes_of(registration(instance + 1, 3, instance)),
                      {listeners.back().get()}) == 0);
    }
    CHECK(eventually([&] { return daemon.status().groups.front().strangers == 1; }, 2s));
    CHECK(daemon.err().find("in another group of the kernel's") != std::string::npos);
    CHECK_FALSE(daemon.status().groups.front().foreign);
    listeners.pop_back();
    CHECK(eventually([&] { return daemon.status().groups.front().strangers == 0; }, 2s));
  }
}

}  // namespace
}  // namespace subset::test
