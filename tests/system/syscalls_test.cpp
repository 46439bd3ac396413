// SPDX-License-Identifier: MIT
// Nothing of ours stands in the data path: from its first look for a datagram on, a server makes
// exactly the system calls, in exactly the order, that it makes without the shim.
#include <csignal>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr uint32_t kDatagrams = 100;

// "ppoll", "recvfrom", "sendto", …: the calls of a trace from the first ppoll on, without
// arguments.
std::vector<std::string> calls_while_serving(const std::string& trace) {
  std::vector<std::string> calls;
  std::ifstream lines(trace);
  std::smatch found;
  const std::regex call(R"(^(?:\d+ +)?([a-z_0-9]+)\()");
  for (std::string line; std::getline(lines, line);) {
    if (!std::regex_search(line, found, call)) continue;
    if (calls.empty() && found[1] != "ppoll") continue;
    calls.push_back(found[1]);
  }
  return calls;
}

pid_t only_child(pid_t pid) {
  std::string task = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid);
  return std::stoi(read_file(task + "/children"));
}

// Serves datagrams one by one under strace.
std::vector<std::string> trace_server(Machine& machine, const Environment& environment) {
  std::string trace = machine.file(machine.unique("trace"));
  std::vector<std::string> argv{"strace", "-f", "-o", trace};
  for (const auto& [name, value] : environment) {
    argv.insert(argv.end(), {"-E", name});
    argv.back().append("=").append(value);
  }
  for (const std::string& word : udp_server_command(0, {kAddress})) argv.push_back(word);
  Process strace(machine, {.argv = argv});
  REQUIRE(strace.wrote("ready"));
  UdpFlows flows(kAddress, 1);
  CHECK(flows.exchange(kDatagrams, 1));
  // strace itself holds signals back while it has a program to trace.
  REQUIRE(kill(only_child(strace.pid()), SIGTERM) == 0);
  REQUIRE(strace.wait() == 0);
  return calls_while_serving(trace);
}

TEST_SUITE("system") {
  TEST_CASE("the shim adds no system call to receiving and sending") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto without = trace_server(machine, {});
    auto with = trace_server(machine, daemon.environment("0/2"));
    REQUIRE(without.size() >= 3 * kDatagrams);
    CHECK(with == without);
    // It did take part: the traced server was steered to.
    CHECK(daemon.status().groups.size() == 1);
    CHECK(daemon.status().groups.front().home == kDatagrams);
  }
}

}  // namespace
}  // namespace subset::test
