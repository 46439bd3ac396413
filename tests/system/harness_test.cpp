// SPDX-License-Identifier: MIT
// The instruments themselves: that they see what they are there to see. A load that cannot notice a
// loss and a schema that accepts anything would pass every test.
#include <csignal>
#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include "tests/system/harness/machine.h"
#include "tests/system/harness/network.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/status.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";

constexpr char kDocument[] = R"({"groups":[{"id":"udp/127.0.0.1:5353","protocol":"udp",
  "address":"127.0.0.1","port":5353,"netns":4026531833,"uid":0,"mode":"hash","vacancy":"spread",
  "total":4,"generation":1,"imbalance":1.02,
  "selections":{"home":9,"alternative":1,"kernel":0,"refused":0},
  "members":[{"instance":0,"member":0,"state":"active","pid":123,"command":"dnsmasq","weight":100,
    "cpus":"0-1","cookie":77,"selected":10,"migrated":0,"queue_bytes":0,
    "queue_limit_bytes":212992,"drops":0,"backlog":0,"backlog_limit":0,"open_connections":0,
    "since":"2026-01-01T00:00:00Z"}]}]})";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kDocument;
  auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

UdpServer start(Machine& machine, uint32_t id) {
  return UdpServer(machine, {.id = id, .addresses = {kAddress}, .reuse = true});
}

TEST_SUITE("system") {
  TEST_CASE("a status document is read, and one that breaks the contract is not") {
    Document document = parse_status(kDocument);
    const GroupStatus& group = document.group("udp/127.0.0.1:5353");
    CHECK(group.selected() == 10);
    CHECK(group.active() == 1);
    REQUIRE(group.of(0) != nullptr);
    CHECK(group.of(0)->pid == 123);

    CHECK_THROWS(parse_status("{}"));
    CHECK_THROWS(parse_status(with(R"("port":5353,)", "")));
    CHECK_THROWS(parse_status(with("\"port\":5353", "\"port\":\"5353\"")));
    CHECK_THROWS(parse_status(with("udp/127.0.0.1:5353", "127.0.0.1:5353")));
    CHECK_THROWS(parse_status(with("\"active\"", "\"lost\"")));
    CHECK_THROWS(parse_status(with("\"imbalance\":1.02", "\"imbalance\":0.5")));
    CHECK_NOTHROW(parse_status(with("\"imbalance\":1.02", "\"imbalance\":null")));
    CHECK_THROWS(parse_status(with("2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z")));
    CHECK_THROWS(parse_status(with("2026-01-01T00:00:00Z", "yesterday")));
    CHECK_NOTHROW(parse_status(with("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123+02:00")));
    // Every field is well-formed, but the sums do not agree.
    CHECK_THROWS(parse_status(with("\"selected\":10", "\"selected\":11")));
  }

  TEST_CASE("flows see who answered, and in order") {
    Machine machine;
    UdpServer server = start(machine, 7);
    UdpFlows flows(kAddress, 64);
    CHECK(flows.exchange(100));
    CHECK(flows.sent() == 6400);
    CHECK(flows.lost().empty());
    CHECK(flows.oddities() == 0);
    CHECK(flows.owners() == std::vector<uint32_t>(64, 7));
    auto report = server.report();
    CHECK(report.size() == 64);
    for (const auto& [flow, seen] : report) {
      CHECK(seen.count == 100);
      CHECK(seen.disorder == 0);
    }
  }

  TEST_CASE("flows see a loss, where it is and how much it is") {
    Machine machine;
    UdpServer server = start(machine, 7);
    UdpFlows flows(kAddress, 2);
    REQUIRE(flows.exchange(10));
    server.process().signal(SIGSTOP);
    flows.send_round();
    flows.drain(50ms);
    server.process().kill9();
    server = start(machine, 8);
    CHECK(flows.exchange(1));
    CHECK(flows.lost() == std::vector<Number>{{0, 10}, {1, 10}});
    CHECK(flows.servers(0) == std::set<uint32_t>{7, 8});
    CHECK(flows.owners() == std::vector<uint32_t>{8, 8});
    auto report = server.report();
    CHECK(report[0].disorder == 1);  // it begins in the middle
  }

  TEST_CASE("flows see that nobody is there") {
    Machine machine;
    UdpFlows flows(kAddress, 1);
    CHECK(!flows.exchange(2, 1, 100ms));
    CHECK(flows.oddities() > 0);  // ICMP: port unreachable
  }

  TEST_CASE("a paced load goes on by itself") {
    Machine machine;
    UdpServer server = start(machine, 7);
    UdpFlows flows(kAddress, 64);
    PacedLoad load(flows);
    load.wait_rounds(20);
    load.stop();
    CHECK(flows.sent() >= 64 * 20);
    CHECK(flows.sent() == flows.answered());
  }

  TEST_CASE("a process is seen to end, and how") {
    Machine machine;
    auto finished = run(machine, {.argv = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
    CHECK(finished.status == 3);
    CHECK(finished.out == "out\n");
    CHECK(finished.err == "err\n");
    Process killed(machine, {.argv = {"sleep", "100"}});
    CHECK(killed.alive());
    CHECK(!killed.wait(1ms));
    killed.signal(SIGKILL);
    CHECK(killed.wait() == 128 + SIGKILL);
    CHECK(!killed.alive());
    CHECK(run(machine, {.argv = {"id", "-u"}, .user = kNobody}).out == "65534\n");
    CHECK(run(machine, {.argv = {"/does/not/exist"}}).status == 127);
  }

  // What the test's environment says about subset must not reach what it starts.
  TEST_CASE("programs start without the variables of whoever runs the tests") {
    Machine machine;
    setenv("SUBSET", "3/8", 1);
    CHECK(run(machine, {.argv = {"sh", "-c", "echo $SUBSET"}}).out == "\n");
    unsetenv("SUBSET");
  }

  TEST_CASE("each machine has a network and files of its own") {
    ino_t first_network = 0;
    {
      Machine machine;
      first_network = network_inode();
      OtherNetwork other;
      CHECK(other.inode() != first_network);
      ino_t seen = 0;
      other.run([&] { seen = network_inode(); });
      CHECK(seen == other.inode());
      CHECK(network_inode() == first_network);
    }
    Machine machine;
    CHECK(std::filesystem::is_empty(machine.file("")));
  }
}

}  // namespace
}  // namespace subset::test
