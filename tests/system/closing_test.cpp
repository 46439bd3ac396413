// SPDX-License-Identifier: MIT
// Servers that close listeners while others at the address go on. The kernel migrates the
// connections of a listener that closes, but resets those whose handshake ends at that very moment
// (shim/farewell.h): with 4,000 closes under the load of these clients 17 to 47. So the shim has
// the listener leave its group first; and does not where that would be wrong.
#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/load.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/workers.h"

namespace subset::test {
namespace {

bool answers() {
  return read_answer(send_request("")) == "x";
}

Process start(Machine& machine, const DaemonProcess& daemon, const std::string& step) {
  Process server(machine, {.argv = {built("tests/system/closing_server"), kAddress, step},
                           .environment = daemon.environment("0/1")});
  REQUIRE(server.wrote("ready"));
  return server;
}

TEST_SUITE("system") {
  TEST_CASE("a thousand listeners that are closed under load reset no connection") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server = start(machine, daemon, "reopen:1000");
    Load load(answers, 4);
    REQUIRE(server.wrote("done", 60s));
    load.stop();
    CAPTURE(load.error());
    CHECK(load.failed() == 0);
    CHECK(load.answered() > 0);
    CHECK(server.err() == "");
    CHECK(daemon.status().group(kGroup).active() == 1);
  }

  TEST_CASE("a listener of which there is a duplicate stays a member when it is closed") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server = start(machine, daemon, "copy");
    REQUIRE(server.wrote("done"));
    CHECK(answers());
    const Document status = daemon.status();
    CHECK(status.group(kGroup).active() == 1);
    CHECK(status.group(kGroup).home == 1);
  }

  TEST_CASE("a server that has confined itself closes its listener without a word") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server = start(machine, daemon, "confined");
    REQUIRE(server.wrote("done"));
    CHECK(answers());
    CHECK(server.alive());
    CHECK(eventually([&] { return daemon.status().group(kGroup).active() == 1; }));
  }
}

}  // namespace
}  // namespace subset::test
