// SPDX-License-Identifier: MIT
// What an operator, or a server, asks for and may not have: one clear line, and nothing changes.
#include <algorithm>
#include <cerrno>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kUdp[] = "udp/127.0.0.1:7000";
constexpr char kTcp[] = "tcp/127.0.0.1:7000";
constexpr uid_t kStranger = 4711;

bool is_one_line(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

UdpServer start_owned(Machine& machine, const DaemonProcess& daemon, uid_t owner,
                      const std::string& share) {
  return UdpServer(
      machine,
      {.id = 0, .addresses = {kAddress}, .environment = daemon.environment(share), .user = owner});
}

const Order kEveryVerb[] = {
    drain(0),
    resume(0),
    weight(0, 10),
    mode(Mode::Source),
    {.verb = protocol::Verb::Activate},
    {.verb = protocol::Verb::Abandon},
};

TEST_SUITE("system") {
  TEST_CASE("only root and the owner of a group change it") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto server = start_owned(machine, daemon, kNobody, "0/2");
    for (const Order& order : kEveryVerb) {
      CAPTURE(static_cast<int>(order.verb));
      const Verdict verdict = ask(daemon, kUdp, order, kStranger);
      CHECK(verdict.error == EPERM);
      CHECK(is_one_line(verdict.text));
      CHECK(verdict.text.find("only root and its owner") != std::string::npos);
    }
    Document status = daemon.status();
    const MemberStatus* member = status.group(kUdp).of(0);
    REQUIRE(member != nullptr);
    CHECK(member->weight == 100);
    CHECK(status.group(kUdp).mode == "hash");

    CHECK(ask(daemon, kUdp, weight(0, 10), kNobody).error == 0);
    CHECK(ask(daemon, kUdp, drain(0), kNobody).error == 0);
    CHECK(ask(daemon, kUdp, resume(0)).error == 0);
    CHECK(ask(daemon, kUdp, mode(Mode::Source), kNobody).error == 0);
    status = daemon.status();
    CHECK(status.group(kUdp).of(0)->weight == 10);
    CHECK(status.group(kUdp).mode == "source");
  }

  TEST_CASE("a stranger with the command gets one line, and status 1") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto server = start_owned(machine, daemon, kNobody, "0/2");
    const std::vector<std::vector<std::string>> verbs = {
        {"drain", kUdp, "0"},     {"resume", kUdp, "0"}, {"weight", kUdp, "0", "10"},
        {"mode", kUdp, "source"}, {"activate", kUdp},    {"abandon", kUdp}};
    for (const auto& words : verbs) {
      CAPTURE(words.front());
      Command command{.argv = {built("ctl/subset")},
                      .environment = {{"SUBSET_SOCKET", daemon.socket()}},
                      .user = kStranger};
      command.argv.insert(command.argv.end(), words.begin(), words.end());
      auto finished = run(machine, command);
      INFO(finished.err);
      CHECK(finished.status == 1);
      CHECK(finished.out.empty());
      CHECK(lines_with(finished.err, "").size() == 1);
      CHECK(finished.err.find("only root and its owner") != std::string::npos);
    }
  }

  TEST_CASE("a mode that the protocol has no use for is refused to an operator") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto datagrams = start_instances(machine, daemon, 1, kAddress);
    auto streams =
        start_tcp_instances(machine, daemon.socket(),
                            {.total = 1, .address = kAddress, .environment = {}, .arguments = {}});
    const Verdict least = ask(daemon, kUdp, mode(Mode::Least));
    CHECK(least.error == EINVAL);
    CHECK(is_one_line(least.text));
    CHECK(least.text.find("least") != std::string::npos);
    const Verdict random = ask(daemon, kTcp, mode(Mode::Random));
    CHECK(random.error == EINVAL);
    CHECK(is_one_line(random.text));
    CHECK(random.text.find("random") != std::string::npos);
    Document status = daemon.status();
    CHECK(status.group(kUdp).mode == "hash");
    CHECK(status.group(kTcp).mode == "hash");
  }

  TEST_CASE("and to a server, which fails to start and says why") {
    Machine machine;
    DaemonProcess daemon(machine);
    Environment least = daemon.environment("0/2");
    least.emplace("SUBSET_MODE", "least");
    auto datagrams =
        run(machine, {.argv = udp_server_command(0, {kAddress}), .environment = least});
    CHECK(datagrams.status == 1);
    CHECK(datagrams.err.find("bind: Invalid argument") != std::string::npos);
    CHECK(lines_with(datagrams.err, "subset:").size() == 1);
    CHECK(lines_with(datagrams.err, "least").size() == 1);

    Environment random = daemon.environment("0/2");
    random.emplace("SUBSET_MODE", "random");
    auto streams = run(machine, {.argv = {built("tests/system/tcp_server"), "--id", "0", kAddress},
                                 .environment = random});
    CHECK(streams.status == 1);
    CHECK(streams.err.find("listen: Invalid argument") != std::string::npos);
    CHECK(lines_with(streams.err, "subset:").size() == 1);
    CHECK(lines_with(streams.err, "random").size() == 1);
    CHECK(daemon.status().groups.empty());
  }

  TEST_CASE("orders that name what is not there") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    struct {
      const char* group;
      Order order;
      int error;
    } const cases[] = {
        {"udp/127.0.0.1:1", drain(0), ENOENT},
        {kUdp, drain(2), EINVAL},
        {kUdp, resume(0), ENOENT},
        {kUdp, weight(0, 0), EINVAL},
        {kUdp, weight(0, 1001), EINVAL},
        {kUdp, {.verb = protocol::Verb::Activate}, ENOENT},
        {kUdp, {.verb = protocol::Verb::Abandon}, ENOENT},
    };
    for (const auto& one : cases) {
      CAPTURE(static_cast<int>(one.order.verb));
      const Verdict verdict = ask(daemon, one.group, one.order);
      CHECK(verdict.error == one.error);
      CHECK(is_one_line(verdict.text));
    }
  }
}

}  // namespace
}  // namespace subset::test
