// SPDX-License-Identifier: MIT
// `subsetd --teardown` is the one way by which steering ends on purpose. Servers must not notice:
// each store that takes something away leaves the kernel with a program that says "your own hash",
// and at last without a program. So the test looks from three sides while traffic flows: at the
// answers (none is missing, and all instances answer), at the bpffs (nothing is there), and at the
// kernel (no program of ours is loaded, which also means that none is attached any more).
#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr uint32_t kFlows = 64;

Finished tear_down(Machine& machine, const DaemonProcess& daemon) {
  return run(machine, Command{.argv = {built("daemon/subsetd"), "--config", "/dev/null",
                                       "--pin-dir", daemon.pins(), "--teardown"}});
}

std::set<uint32_t> who_answers(const UdpFlows& flows) {
  const auto owners = flows.owners();
  return {owners.begin(), owners.end()};
}

// Ids of the programs that steer, on the whole machine: other tests have some.
std::set<std::string> steering_programs(Machine& machine) {
  std::set<std::string> ids;
  const Finished list = run(machine, Command{.argv = {"bpftool", "prog", "show"}});
  for (const std::string& line : lines_with(list.out, "sk_reuseport"))
    ids.insert(line.substr(0, line.find(':')));
  return ids;
}

TEST_SUITE("system") {
  TEST_CASE("teardown takes everything down, and servers go on") {
    Machine machine;
    const auto before = steering_programs(machine);
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(5));
    const auto ours = steering_programs(machine);

    SUBCASE("not while a daemon works there") {
      const Finished refused = tear_down(machine, daemon);
      CHECK(refused.status == 1);
      CHECK(lines_with(refused.err, "a daemon works on " + daemon.pins() + ": stop it first")
                .size() == 1);
      CHECK(flows.exchange(5));
      CHECK(daemon.status().group("udp/127.0.0.1:5353").active() == 4);
    }
    SUBCASE("when none does") {
      CHECK(daemon.stop() == 0);
      CHECK(std::filesystem::exists(daemon.pins()));  // SIGTERM left it in place
      PacedLoad load(flows);
      load.wait_rounds(10);
      const Finished done = tear_down(machine, daemon);
      CAPTURE(done.err);
      CHECK(done.status == 0);
      CHECK(lines_with(done.out, "1 groups of 4 sockets").size() == 1);
      CHECK(lines_with(done.out, "keep a program").empty());
      load.wait_rounds(20);
      load.stop();
      CHECK(flows.lost().empty());
      CHECK(who_answers(flows) == std::set<uint32_t>{0, 1, 2, 3});
      CHECK(!std::filesystem::exists(daemon.pins()));
      // Programs go in the background, once nobody can be running them.
      CHECK(eventually([&] {
        const auto after = steering_programs(machine);
        return std::none_of(after.begin(), after.end(), [&](const std::string& id) {
          return ours.count(id) && !before.count(id);
        });
      }));

      CHECK(tear_down(machine, daemon).status == 0);  // nothing is there
      daemon.start();
      CHECK(daemon.status().groups.empty());
      servers.clear();
      auto next = start_instances(machine, daemon, 2, kAddress);
      UdpFlows more(kAddress, kFlows);
      CHECK(more.exchange(5));
      CHECK(daemon.status().group("udp/127.0.0.1:5353").home == more.sent());
    }
  }
}

}  // namespace
}  // namespace subset::test
