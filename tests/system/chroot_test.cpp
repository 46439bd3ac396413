// SPDX-License-Identifier: MIT
// A server that has changed its root cannot reach the control socket by its path. It asks for it by
// name then; a name can be taken by anybody, and a server hands its socket to nobody but root.
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"

namespace subset::test {
namespace {

constexpr char kGroup[] = "udp/127.0.0.1:5353";

// Binds after it has gone into an empty directory, as named -t does.
constexpr char kServer[] =
    "import os, socket, sys, time\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "os.chroot(sys.argv[1])\n"
    "s.bind(('127.0.0.1', 5353))\n"
    "print('bound', flush=True)\n"
    "time.sleep(60)\n";

// Takes the name of a path, and tells what it is given.
constexpr char kThief[] =
    "import socket, sys\n"
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    "s.bind('\\0' + sys.argv[1])\n"
    "s.listen()\n"
    "print('listens', flush=True)\n"
    "print('got', len(s.accept()[0].recv(4096)), flush=True)\n";

Process start_server(Machine& machine, const Environment& environment) {
  const std::filesystem::path root = machine.file("root");
  std::filesystem::create_directory(root);
  return Process(machine, {.argv = {"python3", "-c", kServer, root}, .environment = environment});
}

TEST_SUITE("system") {
  TEST_CASE("a server that has called chroot joins") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server = start_server(machine, daemon.environment("0/1"));
    REQUIRE(server.wrote("bound"));
    CHECK(server.err() == "");
    CHECK(daemon.status().group(kGroup).active() == 1);
  }

  TEST_CASE("a name that somebody took before the daemon is handed no socket") {
    Machine machine;
    const std::string path = machine.file("socket");
    Process thief(machine, {.argv = {"python3", "-c", kThief, path}, .user = kNobody});
    REQUIRE(thief.wrote("listens"));
    Process server = start_server(machine, shim_environment(path, "0/1"));
    REQUIRE(server.wrote("bound"));
    CHECK(lines_with(server.err(), "no daemon at").size() == 1);
    CHECK(thief.wrote("got 0"));
  }
}

}  // namespace
}  // namespace subset::test
