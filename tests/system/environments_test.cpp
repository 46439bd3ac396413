// SPDX-License-Identifier: MIT
// Where servers live: without a file of the machine in sight, without rights, behind a filter of
// system calls, with a file system of their own, with sockets by the thousand, under signals. Each
// case is one server that shuts itself in, in its own order, next to an ordinary one that is 1 of
// 2: it has to join if it could reach the daemon at its bind, and has to serve in any case.
#include <filesystem>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr char kBind[] = "bind:127.0.0.1:5353";

Process start(Machine& machine, const DaemonProcess& daemon, const std::vector<std::string>& steps,
              const std::vector<std::string>& before = {}) {
  std::vector<std::string> command = before;
  command.insert(command.end(), {built("tests/system/confined_server"), "0"});
  command.insert(command.end(), steps.begin(), steps.end());
  Process server(machine, {.argv = command, .environment = daemon.environment("0/2")});
  REQUIRE(server.wrote("ready"));
  return server;
}

void check_serves(const Process& server) {
  UdpFlows flows(kAddress, 32);
  CHECK(flows.exchange(4));
  CHECK(server.alive());
}

// It is 0 of 2, and has its share beside another.
void check_joined(Machine& machine, const DaemonProcess& daemon, const Process& server,
                  uid_t user = 0) {
  UdpServer other(machine, {.id = 1,
                            .addresses = {kAddress},
                            .environment = daemon.environment("1/2"),
                            .user = user ? std::optional<uid_t>(user) : std::nullopt});
  check_serves(server);
  Document status = daemon.status();
  const GroupStatus& group = status.group(kGroup);
  CHECK(group.uid == user);
  REQUIRE(group.active() == 2);
  CHECK(group.of(0)->pid == server.pid());
  CHECK(group.home == 32 * 4);
  CHECK(group.of(0)->selected > 0);
  CHECK(server.err() == "");
}

TEST_SUITE("system") {
  TEST_CASE("a server that drops its user after its bind, and before it") {
    for (const std::vector<std::string>& steps :
         {std::vector<std::string>{kBind, "drop"}, {"drop", kBind}}) {
      Machine machine;
      DaemonProcess daemon(machine);
      const uid_t user = steps.front() == "drop" ? kNobody : 0;
      check_joined(machine, daemon, start(machine, daemon, steps), user);
    }
  }

  TEST_CASE("a server that closes all descriptors, and binds") {
    Machine machine;
    DaemonProcess daemon(machine);
    check_joined(machine, daemon, start(machine, daemon, {"close", kBind}));
  }

  TEST_CASE("a server that changes its root after its bind") {
    Machine machine;
    DaemonProcess daemon(machine);
    check_joined(machine, daemon,
                 start(machine, daemon, {kBind, "chroot:" + machine.file("").string(), "drop"}));
  }

  // The control socket is out of its reach; what matters is that it serves.
  TEST_CASE("a server that changes its root before its bind") {
    Machine machine;
    DaemonProcess daemon(machine);
    const auto root = machine.file("root");
    std::filesystem::create_directory(root);
    check_serves(start(machine, daemon, {"chroot:" + root.string(), kBind}));
  }

  TEST_CASE("a seccomp filter that kills for any call but the server's own") {
    Machine machine;
    DaemonProcess daemon(machine);
    check_joined(machine, daemon, start(machine, daemon, {kBind, "drop", "filter"}));
  }

  // A takeover over UDP takes effect at the successor's first receive, of which its shim tells the
  // daemon by calls that this filter kills for: the daemon sees by the holder that there will be
  // one, and does not ask for that.
  TEST_CASE("the same, as successor of one that is confined already") {
    Machine machine;
    DaemonProcess daemon(machine);
    const std::vector<std::string> steps{kBind, "drop", "filter"};
    Process holder = start(machine, daemon, steps);
    Process successor = start(machine, daemon, steps);
    check_joined(machine, daemon, successor);
    CHECK(holder.alive());
  }

  TEST_CASE("a successor that drops its user after its bind") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process holder = start(machine, daemon, {kBind, "drop"});
    Process successor = start(machine, daemon, {kBind, "drop"});
    REQUIRE(
        eventually([&] { return daemon.status().group(kGroup).of(0)->pid == successor.pid(); }));
    check_joined(machine, daemon, successor);
    CHECK(holder.alive());
  }

  TEST_CASE("a seccomp filter that was there before the bind, and refuses the shim its calls") {
    Machine machine;
    DaemonProcess daemon(machine);
    check_serves(start(machine, daemon, {"deny", kBind}));
  }

  TEST_CASE("a server with a /tmp of its own") {
    Machine machine;
    DaemonProcess daemon(machine);
    check_joined(
        machine, daemon,
        start(machine, daemon, {kBind},
              {"unshare", "--mount", "--propagation", "private", "sh", "-c",
               "mount -t tmpfs none /tmp && mount -t tmpfs none /var/tmp && exec \"$@\"", "sh"}));
  }

  TEST_CASE("a thousand binds, threads that bind at once, and signals all the while") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Finished done = run(
        machine, {.argv = {built("tests/shim/probe"), "many,1000,127.0.0.1,5353",
                           "threads,32,127.0.0.1,5354", "storm", "many,100,127.0.0.1,5355", "calm"},
                  .environment = daemon.environment("0/1")});
    CHECK(done.status == 0);
    CHECK(done.out == "many 1000\nthreads 32\nstorm ok\nmany 100\ncalm ok\n");
    CHECK(done.err == "");
    CHECK(daemon.err().find("[error]") == std::string::npos);
  }
}

}  // namespace
}  // namespace subset::test
