// SPDX-License-Identifier: MIT
// Sockets that take a group's traffic without being members. Nothing errors when that happens: the
// kernel looks sockets up by address and owner, and the group's program is not even asked. So the
// daemon has to find them: each kind, within 2 seconds, with pid and reason; and none that is none.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "daemon/base/fd.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

using namespace std::chrono_literals;

constexpr uint16_t kPort = 5353;

// A socket of this process, which has no shim.
Fd socket_on(int type, uint32_t address, uint16_t port, bool share) {
  Fd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const int one = 1;
  if (share) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(port);
  where.sin_addr.s_addr = htonl(address);
  REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0);
  if (type == SOCK_STREAM) REQUIRE(listen(fd.get(), 16) == 0);
  return fd;
}

UdpServer serve(Machine& machine, const DaemonProcess& daemon, const std::string& address,
                bool reuse = false) {
  UdpServerOptions options;
  options.addresses = {address};
  options.environment = daemon.environment("0/2");
  options.reuse = reuse;
  return UdpServer(machine, options);
}

// Binds it beside the group's, as a socket of nobody's.
void make_other_users(const Fd& fd) {
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  REQUIRE(fchown(fd.get(), kNobody, kNobody) == 0);  // the owner is the inode's
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(kPort);
  REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0);
}

std::vector<Fd> many_sockets(size_t count) {
  const rlimit room{.rlim_cur = count + 1000, .rlim_max = count + 1000};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &room) == 0);
  std::vector<Fd> sockets;
  for (size_t i = 0; i < count; i++) {
    sockets.emplace_back(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(sockets.back());
  }
  return sockets;
}

// CPU time of a process, of all its threads.
std::chrono::duration<double> time_worked(pid_t pid) {
  clockid_t clock{};
  timespec spent{};
  REQUIRE(clock_getcpuclockid(pid, &clock) == 0);
  REQUIRE(clock_gettime(clock, &spent) == 0);
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

// Within 2 seconds.
bool strangers_become(const DaemonProcess& daemon, const std::string& group, size_t count) {
  return eventually([&] { return daemon.status().group(group).strangers == count; }, 2s);
}

TEST_SUITE("system") {
  TEST_CASE("one that escaped the shim, in the kernel's own group") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = serve(machine, daemon, "127.0.0.1:5353");
    const std::string group = "udp/127.0.0.1:5353";
    CHECK(daemon.status().group(group).strangers == 0);
    {
      Fd escaped = socket_on(SOCK_DGRAM, INADDR_LOOPBACK, kPort, true);
      CHECK(strangers_become(daemon, group, 1));
      CHECK(daemon.err().find("a stranger takes traffic: process " + std::to_string(getpid())) !=
            std::string::npos);
      CHECK(daemon.err().find("escaped the shim") != std::string::npos);
      // The program picks members alone, so it has taken nothing.
      UdpFlows flows("127.0.0.1:5353", 64);
      CHECK(flows.exchange(5));
    }
    CHECK(strangers_become(daemon, group, 0));
  }

  TEST_CASE("one on a more specific address than the group's") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = serve(machine, daemon, "0.0.0.0:5353");
    const std::string group = "udp/0.0.0.0:5353";
    Fd specific = socket_on(SOCK_DGRAM, INADDR_LOOPBACK, kPort, true);
    CHECK(strangers_become(daemon, group, 1));
    CHECK(daemon.err().find("more specific address") != std::string::npos);
  }

  TEST_CASE("another owner's, beside a UDP group that allows it by SO_REUSEADDR") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = serve(machine, daemon, "127.0.0.1:5353", true);
    const std::string group = "udp/127.0.0.1:5353";
    Fd other(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    setsockopt(other.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(other.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    REQUIRE(fchown(other.get(), kNobody, kNobody) == 0);  // the owner is the inode's
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(kPort);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(other.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0);
    CHECK(strangers_become(daemon, group, 1));
    CHECK(daemon.err().find("owned by user " + std::to_string(kNobody)) != std::string::npos);
  }

  // A machine with many sockets: the search looks at each descriptor, so that it is made more
  // seldom the longer it takes. Each kind is found in time all the same, at a cost that is bounded.
  TEST_CASE("beside 10,000 sockets each is found within 2 seconds, and the daemon hardly works") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = serve(machine, daemon, "0.0.0.0:5353", true);
    const std::string group = "udp/0.0.0.0:5353";
    const std::vector<Fd> crowd = many_sockets(10'000);
    {
      Fd escaped = socket_on(SOCK_DGRAM, INADDR_ANY, kPort, true);
      CHECK(strangers_become(daemon, group, 1));
      Fd specific = socket_on(SOCK_DGRAM, INADDR_LOOPBACK, kPort, true);
      CHECK(strangers_become(daemon, group, 2));
      Fd other(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      make_other_users(other);
      CHECK(strangers_become(daemon, group, 3));
    }
    CHECK(strangers_become(daemon, group, 0));
    // While nobody asks it anything.
    const auto worked = time_worked(daemon.pid());
    const auto start = Clock::now();
    std::this_thread::sleep_for(4s);
    const double share = (time_worked(daemon.pid()) - worked) / (Clock::now() - start);
    MESSAGE("the daemon worked " << 100 * share << "% of the time");
    CHECK(share < 0.1);
  }

  TEST_CASE("sockets on other ports, of other protocols and on other addresses are none") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = serve(machine, daemon, "127.0.0.1:5353");
    const std::string group = "udp/127.0.0.1:5353";
    Fd port = socket_on(SOCK_DGRAM, INADDR_LOOPBACK, kPort + 1, false);
    Fd protocol = socket_on(SOCK_STREAM, INADDR_LOOPBACK, kPort, false);
    Fd address = socket_on(SOCK_DGRAM, INADDR_LOOPBACK + 1, kPort, false);
    Fd wildcard = socket_on(SOCK_DGRAM, INADDR_ANY, kPort, true);  // less specific: takes nothing
    // When one that came later has been found, those above have been looked at.
    Fd escaped = socket_on(SOCK_DGRAM, INADDR_LOOPBACK, kPort, true);
    CHECK(strangers_become(daemon, group, 1));
  }
}

}  // namespace
}  // namespace subset::test
