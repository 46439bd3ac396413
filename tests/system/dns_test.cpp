// SPDX-License-Identifier: MIT
// Four unmodified dnsmasq processes on one UDP port, under dnsperf. Both are real: what works here
// works because the contract with applications holds, not because a test server was written for it.
//
// What is counted, and where: dnsperf says how many queries it sent and lost; each dnsmasq says in
// its own statistics (SIGUSR1) how many it answered; the daemon says how many it saw steered to
// each. All three must be the same number, or somebody's datagram went astray or was counted twice.
//
// Each dnsperf client is a socket, so a flow. The share of an instance is then binomial over the
// flows, not over the queries: among 256 flows its standard deviation is 11% of the mean and a
// bound of 25% would fail every tenth run; among 2,048 it is 3.8%, and 25% is 6.5 deviations. One
// thread of dnsperf has at most 256 sockets, hence eight; they run at a fixed rate, since otherwise
// whichever thread gets the CPU asks most of the questions over few flows.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

constexpr uint32_t kInstances = 4;
constexpr char kPort[] = "5353";
constexpr uint64_t kNames = 10'000;
constexpr uint64_t kRuns = 3;
constexpr uint64_t kQueries = kNames * kRuns;

struct Place {
  const char* address;
  const char* group;
};
constexpr Place kIpv4{"127.0.0.1", "udp/127.0.0.1:5353"};
constexpr Place kIpv6{"::1", "udp/[::1]:5353"};

std::vector<std::string> dnsmasq(const Place& place, const std::string& log) {
  return {"dnsmasq",
          "--keep-in-foreground",
          std::string("--port=") + kPort,
          std::string("--listen-address=") + place.address,
          "--bind-interfaces",
          "--conf-file=/dev/null",
          "--no-resolv",
          "--no-hosts",
          "--address=/#/192.0.2.1",
          "--pid-file=",
          "--log-facility=" + log};
}

bool log_says(const std::string& log, const std::string& text) {
  return eventually([&] { return read_file(log).find(text) != std::string::npos; });
}

// The number behind a label such as "Queries sent:"; fails the test where it is missing.
uint64_t number_after(const std::string& text, const std::string& label) {
  std::smatch found;
  bool there = std::regex_search(text, found, std::regex(label + R"(\s+(\d+))"));
  INFO(text);
  REQUIRE(there);
  return std::stoull(found[1]);
}

// Asks kQueries questions over 2,048 flows, at most 64 at a time: no queue can overflow.
void ask_and_lose_nothing(Machine& machine, const Place& place) {
  std::string questions = machine.file("questions");
  std::ofstream file(questions);
  for (uint64_t i = 0; i < kNames; i++) file << "host" << i << ".example A\n";
  file.close();

  auto finished = run(machine, {.argv = {"dnsperf", "-s", place.address, "-p", kPort, "-d",
                                         questions, "-n", std::to_string(kRuns), "-c", "2048", "-T",
                                         "8", "-Q", "20000", "-q", "64"}});
  INFO(finished.out, finished.err);
  REQUIRE(finished.status == 0);
  CHECK(number_after(finished.out, "Queries sent:") == kQueries);
  CHECK(number_after(finished.out, "Queries lost:") == 0);
}

uint64_t answered_by(pid_t dnsmasq, const std::string& log) {
  REQUIRE(kill(dnsmasq, SIGUSR1) == 0);
  REQUIRE(log_says(log, "queries answered locally"));
  return number_after(read_file(log), "queries answered locally");
}

void check_shares(const DaemonProcess& daemon, const Place& place,
                  const std::vector<std::string>& logs) {
  Document status = daemon.status();
  const GroupStatus& group = status.group(place.group);
  CHECK(group.total == kInstances);
  REQUIRE(group.members.size() == kInstances);
  CHECK(group.home == kQueries);
  CHECK(group.alternative == 0);
  CHECK(group.kernel == 0);
  CHECK(group.refused == 0);
  constexpr double kFair = static_cast<double>(kQueries) / kInstances;
  for (uint32_t i = 0; i < kInstances; i++) {
    CAPTURE(i);
    const MemberStatus* member = group.of(i);
    REQUIRE(member != nullptr);
    CHECK(member->command == "dnsmasq");
    CHECK(static_cast<double>(member->selected) == doctest::Approx(kFair).epsilon(0.25));
    REQUIRE(member->pid.has_value());
    CHECK(answered_by(*member->pid, logs[i]) == member->selected);
  }
}

std::vector<std::string> log_names(Machine& machine) {
  std::vector<std::string> logs;
  for (uint32_t i = 0; i < kInstances; i++) {
    logs.push_back(machine.file("dnsmasq." + std::to_string(i)));
  }
  return logs;
}

void serve_with_preload(const Place& place) {
  Machine machine;
  DaemonProcess daemon(machine);
  auto logs = log_names(machine);
  std::vector<Process> servers;
  for (uint32_t i = 0; i < kInstances; i++) {
    std::string share = std::to_string(i) + "/" + std::to_string(kInstances);
    servers.emplace_back(machine, Command{.argv = dnsmasq(place, logs[i]),
                                          .environment = daemon.environment(share)});
    INFO(servers.back().err());
    REQUIRE(log_says(logs[i], "started"));
  }
  ask_and_lose_nothing(machine, place);
  check_shares(daemon, place, logs);
}

TEST_SUITE("system") {
  TEST_CASE("dnsmasq x 4 on one port over IPv4") {
    serve_with_preload(kIpv4);
  }

  TEST_CASE("dnsmasq x 4 on one port over IPv6") {
    serve_with_preload(kIpv6);
  }

  TEST_CASE("one command runs dnsmasq x 4") {
    Machine machine;
    DaemonProcess daemon(machine);
    Command command{.argv = {built("ctl/subset"), "run", "-n", std::to_string(kInstances), "--"},
                    .environment = {{"SUBSET_SOCKET", daemon.socket()}}};
    for (const std::string& word : dnsmasq(kIpv4, machine.file("dnsmasq.{i}"))) {
      command.argv.push_back(word);
    }
    Process run(machine, command);
    auto logs = log_names(machine);
    for (const std::string& log : logs) {
      INFO(run.err(), run.out());
      REQUIRE(log_says(log, "started"));
    }
    ask_and_lose_nothing(machine, kIpv4);
    check_shares(daemon, kIpv4, logs);

    auto json = test::run(machine, {.argv = {built("ctl/subset"), "status", "--json"},
                                    .environment = {{"SUBSET_SOCKET", daemon.socket()}}});
    INFO(json.err);
    REQUIRE(json.status == 0);
    CHECK(parse_status(json.out).group(kIpv4.group).selected() == kQueries);

    run.signal(SIGTERM);
    CHECK(run.wait().has_value());
    for (const std::string& log : logs) CHECK(log_says(log, "exiting on receipt of SIGTERM"));
    CHECK(lines_with(run.err() + run.out(), "subset:").empty());
  }

  // Nobody started a daemon: `run` brings one along, for as long as it runs.
  TEST_CASE("one command runs dnsmasq x 4 without a daemon") {
    Machine machine;
    auto logs = log_names(machine);
    Command command{.argv = {built("ctl/subset"), "run", "-n", std::to_string(kInstances), "--"}};
    for (const std::string& word : dnsmasq(kIpv4, machine.file("dnsmasq.{i}"))) {
      command.argv.push_back(word);
    }
    Process run(machine, command);
    for (const std::string& log : logs) {
      INFO(run.err(), run.out());
      REQUIRE(log_says(log, "started"));
    }
    ask_and_lose_nothing(machine, kIpv4);

    auto json = test::run(machine, {.argv = {built("ctl/subset"), "status", "--json"}});
    INFO(json.err);
    REQUIRE(json.status == 0);
    CHECK(parse_status(json.out).group(kIpv4.group).selected() == kQueries);

    run.signal(SIGTERM);
    CHECK(run.wait().has_value());
    CHECK(std::filesystem::is_empty("/sys/fs/bpf/subset"));
  }
}

}  // namespace
}  // namespace subset::test
