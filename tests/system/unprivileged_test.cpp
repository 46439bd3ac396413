// SPDX-License-Identifier: MIT
// Nobody special, on a machine where no daemon runs: a Python server, twice, on one port. The
// kernel's own hash serves it, and one line says that this is what happens.
#include <csignal>
#include <set>

#include <doctest/doctest.h>

#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"

namespace subset::test {
namespace {

TEST_SUITE("system") {
  TEST_CASE("an unprivileged user without daemon runs two instances of a Python server") {
    Machine machine;
    Process run(machine,
                {.argv = {built("ctl/subset"), "run", "-n", "2", "--", "/usr/bin/python3",
                          source("tests/system/servers/udp_server.py"), "127.0.0.1", "5353"},
                 .user = kNobody});
    REQUIRE(eventually([&] { return lines_with(run.out(), "ready").size() == 2 || !run.alive(); }));
    INFO(run.out(), run.err());
    REQUIRE(run.alive());

    UdpFlows flows("127.0.0.1:5353", 64);
    CHECK(flows.exchange(10));
    CHECK(flows.oddities() == 0);
    std::set<uint32_t> servers;
    for (uint32_t flow = 0; flow < flows.count(); flow++) {
      CHECK(flows.servers(flow).size() == 1);
      servers.merge(flows.servers(flow));
    }
    CHECK(servers.size() == 2);

    run.signal(SIGTERM);
    CHECK(run.wait().has_value());
    // The servers have gone with it.
    for (uint32_t pid : servers) CHECK(kill(static_cast<pid_t>(pid), 0) == -1);
    CHECK(lines_with(run.out() + run.err(), "subset:").size() == 1);
  }
}

}  // namespace
}  // namespace subset::test
