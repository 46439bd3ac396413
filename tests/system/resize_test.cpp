// SPDX-License-Identifier: MIT
// Another total: a group of 4 instances becomes one of 7, and then one of 3, while it serves.
//
// The newcomers wait, as a pending generation, until all of them are there; then one flip gives
// them the traffic, and the old ones read what they have. What could go wrong: a part of the new
// generation gets traffic too early, or the flip happens twice, once for each half; what the old
// ones had queued is lost because they are stopped too soon; a new generation that never becomes
// complete stays for ever, or takes the old one along when it ends.
#include <csignal>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/dns_load.h"
#include "tests/system/harness/http_load.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/real_servers.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kGroup[] = "udp/127.0.0.1:7000";

// Serves with exactly so many, all of one generation.
bool serves(const DaemonProcess& daemon, const char* group, uint32_t total) {
  const Document status = daemon.status();
  const GroupStatus* found = status.find(group);
  return found != nullptr && found->total == total && found->active() == total;
}

// A run of N beside the ones before, which end by themselves when they are replaced.
Process start_run(Machine& machine, const DaemonProcess& daemon, uint32_t copies,
                  const std::vector<std::string>& server) {
  Command command = run_command(daemon, copies, server, {"--until-replaced"});
  Process run(machine, command);
  return run;
}

UdpServer start(Machine& machine, const DaemonProcess& daemon, uint32_t id,
                const std::string& share) {
  return UdpServer(machine,
                   {.id = id, .addresses = {kAddress}, .environment = daemon.environment(share)});
}

uint64_t generation(const DaemonProcess& daemon) {
  return daemon.status().group(kGroup).generation;
}

// Who answers now.
std::set<uint32_t> answering(UdpFlows& flows) {
  REQUIRE(flows.exchange(2));
  const auto owners = flows.owners();
  return {owners.begin(), owners.end()};
}

// A run that was replaced was told, let its servers finish and ended by itself.
void check_ended(Process& run, const std::string& group) {
  INFO(run.err());
  CHECK(run.wait() == 0);
  CHECK(lines_with(run.err(), group + ": others have taken over all instances").size() == 1);
  CHECK(lines_with(run.err(), group + ": nothing waits for this run any more").size() == 1);
}

TEST_SUITE("system") {
  TEST_CASE("4, 7, 3 instances of real servers under load: nothing lost, one flip each") {
    Machine machine;
    DaemonProcess daemon(machine);
    const std::vector<std::string> nginx = nginx_command(machine);
    std::vector<Process> dns;
    std::vector<Process> http;
    const auto resize = [&](uint32_t total) {
      dns.push_back(start_run(machine, daemon, total, dnsmasq_command()));
      http.push_back(start_run(machine, daemon, total, nginx));
      INFO(dns.back().err(), http.back().err());
      REQUIRE(eventually([&] { return serves(daemon, kDnsGroup, total); }));
      REQUIRE(eventually([&] { return serves(daemon, kHttpGroup, total); }));
    };
    resize(4);
    DnsLoad questions({.server = kDnsAddress});
    HttpLoad connections({.server = kHttpAddress});
    uint64_t expected = 1;
    for (const uint32_t total : {7u, 3u}) {
      CAPTURE(total);
      resize(total);
      const Document status = daemon.status();
      expected++;
      CHECK(status.group(kDnsGroup).generation == expected);
      CHECK(status.group(kHttpGroup).generation == expected);
      // The runs before are told, let their servers finish and end.
      check_ended(dns[dns.size() - 2], kDnsGroup);
      check_ended(http[http.size() - 2], kHttpGroup);
    }
    const DnsLoad::Outcome dns_outcome = questions.stop();
    const HttpLoad::Outcome http_outcome = connections.stop();
    tell_outcome("4, 7, 3", dns_outcome, http_outcome);
    check_nothing_lost(dns_outcome, http_outcome);
    const Document status = daemon.status();
    CHECK(status.group(kDnsGroup).home == dns_outcome.sent);
    CHECK(status.group(kHttpGroup).home == http_outcome.made);
    for (const char* group : {kDnsGroup, kHttpGroup}) {
      CAPTURE(group);
      CHECK(status.group(group).generation == expected);
      CHECK(status.group(group).alternative == 0);
      CHECK(status.group(group).kernel == 0);
    }
  }

  TEST_CASE("a pending generation gets nothing, and goes with its members") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto old = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, 128);
    {
      std::vector<UdpServer> pending;
      for (uint32_t i = 0; i < 6; i++)
        pending.push_back(start(machine, daemon, 100 + i, std::to_string(i) + "/7"));
      CHECK(daemon.status().group(kGroup).in_state("pending") == 6);
      CHECK(answering(flows) == std::set<uint32_t>{0, 1, 2, 3});
      for (UdpServer& server : pending) server.process().kill9();
    }
    REQUIRE(eventually([&] { return daemon.status().group(kGroup).in_state("pending") == 0; }));
    CHECK(generation(daemon) == 1);
    CHECK(serves(daemon, kGroup, 4));
    CHECK(answering(flows) == std::set<uint32_t>{0, 1, 2, 3});
    // What is opened next is another one, and has to become complete by itself.
    UdpServer last = start(machine, daemon, 106, "6/7");
    CHECK(daemon.status().group(kGroup).in_state("pending") == 1);
    CHECK(serves(daemon, kGroup, 4));
    CHECK(flows.lost().empty());
  }

  TEST_CASE("instances of the old total come back while another one is pending") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto old = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, 128);
    CHECK(answering(flows).size() == 4);
    std::vector<UdpServer> pending;
    for (uint32_t i = 0; i < 2; i++)
      pending.push_back(start(machine, daemon, 100 + i, std::to_string(i) + "/3"));
    old[1].process().kill9();
    UdpServer back = start(machine, daemon, 51, "1/4");   // after a crash
    UdpServer taken = start(machine, daemon, 52, "2/4");  // beside the old one
    CHECK(daemon.status().group(kGroup).in_state("pending") == 2);
    CHECK(answering(flows) == std::set<uint32_t>{0, 51, 52, 3});
    CHECK(generation(daemon) == 1);
    pending.push_back(start(machine, daemon, 102, "2/3"));
    CHECK(generation(daemon) == 2);
    CHECK(answering(flows) == std::set<uint32_t>{100, 101, 102});
    CHECK(flows.lost().empty());
  }

  TEST_CASE("an operator activates a generation that is not complete, or drops it") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto old = start_instances(machine, daemon, 2, kAddress);
    UdpFlows flows(kAddress, 128);
    CHECK(ask(daemon, kGroup, activate()).error == ENOENT);
    UdpServer third = start(machine, daemon, 102, "2/5");
    tell(daemon, kGroup, abandon());
    CHECK(daemon.status().group(kGroup).in_state("pending") == 0);
    CHECK(answering(flows) == std::set<uint32_t>{0, 1});
    std::vector<UdpServer> pending;
    for (uint32_t i = 0; i < 2; i++)
      pending.push_back(start(machine, daemon, 100 + i, std::to_string(i) + "/5"));
    CHECK(answering(flows) == std::set<uint32_t>{0, 1});
    tell(daemon, kGroup, activate());
    CHECK(answering(flows) == std::set<uint32_t>{100, 101});
    const Document status = daemon.status();
    CHECK(status.group(kGroup).total == 5);
    CHECK(status.group(kGroup).active() == 2);
    CHECK(flows.lost().empty());
  }
}

}  // namespace
}  // namespace subset::test
