// SPDX-License-Identifier: MIT
// Members that come to a large group are planned together, some milliseconds after their bind
// (daemon/model/pace.h). Every one of them must have its share in the end: also if the daemon is
// killed, or ends, when the last of them has bound and is perhaps not planned yet.
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kMembers = 400;
// In random mode a member gets 30 of these, or none once in some ten billion runs.
constexpr uint32_t kFlows = 60;
constexpr uint32_t kRounds = 200;

UdpServer start_members(Machine& machine, const DaemonProcess& daemon) {
  Environment environment = daemon.environment("0/1");
  environment["SUBSET_MODE"] = "random";
  return {machine,
          {.id = 0,
           .addresses = std::vector<std::string>(kMembers, kAddress),
           .environment = environment}};
}

void check_all_get_some(const DaemonProcess& daemon) {
  UdpFlows flows(kAddress, kFlows);
  CHECK(flows.exchange(kRounds));
  const Document status = daemon.status();
  const GroupStatus& group = status.group(kGroup);
  REQUIRE(group.active() == kMembers);
  CHECK(group.home == flows.sent());
  CHECK(group.alternative + group.kernel + group.refused == 0);
  for (const MemberStatus& member : group.members) {
    CAPTURE(member.member);
    CHECK(member.selected > 0);
  }
}

TEST_SUITE("system") {
  TEST_CASE("400 members of one group: each gets some") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_members(machine, daemon);
    check_all_get_some(daemon);
  }

  TEST_CASE("the same where the daemon is killed as soon as they are there") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_members(machine, daemon);
    daemon.kill9();
    daemon.start();
    check_all_get_some(daemon);
  }

  TEST_CASE("the same where it ends") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_members(machine, daemon);
    CHECK(daemon.stop() == 0);
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(kRounds));
    daemon.start();
    const Document status = daemon.status();
    for (const MemberStatus& member : status.group(kGroup).members) {
      CAPTURE(member.member);
      CHECK(member.selected > 0);
    }
  }
}

}  // namespace
}  // namespace subset::test
