// SPDX-License-Identifier: MIT
// What an administrator's rm, a bad mount, or another tool does to the place where steering is kept
// while no daemon runs. Servers go on in each case: what steers them is the kernel's, not the file
// system's. What is told apart is who can mend it:
//
//   - while the daemon runs it has everything in hand, and makes again what is gone; the next one
//     must find it as if nothing had happened;
//   - where it cannot (the file system is read-only) it goes on and says so, and refuses what it
//     could not keep: a new group, whose server then goes on with the kernel's hash;
//   - without a daemon the pins are all there is: the kernel's hash decides from then on, nothing
//     is lost, and servers that are restarted are steered again;
//   - a place that cannot hold pins is refused at the start, in one line.
//
// A bpffs has no size that could run out, so "full" is tried as what it would look like: each pin
// is refused.
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";
constexpr uint32_t kFlows = 64;

std::set<std::string> pins_of(const DaemonProcess& daemon) {
  std::set<std::string> found;
  std::error_code none;
  for (const auto& entry : fs::recursive_directory_iterator(daemon.pins(), none))
    found.insert(entry.path());
  return found;
}

// What `remove` takes away is there again soon, and the next daemon goes on from it.
template <typename Remove>
void check_healed(Remove remove) {
  Machine machine;
  DaemonProcess daemon(machine);
  auto servers = start_instances(machine, daemon, 4, kAddress);
  UdpFlows flows(kAddress, kFlows);
  REQUIRE(flows.exchange(5));
  const auto before = pins_of(daemon);
  REQUIRE(before.size() > 10);

  PacedLoad load(flows);
  load.wait_rounds(10);
  remove(daemon);
  CHECK(eventually([&] { return pins_of(daemon) == before; }));
  CHECK(lines_with(daemon.err(), "").size() > 0);
  CHECK(daemon.err().find("were gone: made again") != std::string::npos);
  daemon.kill9();
  daemon.start();
  load.wait_rounds(10);
  load.stop();

  CHECK(flows.lost().empty());
  for (uint32_t flow = 0; flow < kFlows; flow++) CHECK(flows.servers(flow).size() == 1);
  const Document status = daemon.status();
  const GroupStatus& group = status.group(kGroup);
  CHECK(group.active() == 4);
  CHECK(group.home == flows.sent());
}

// The pins of one version of the group's program, by the name without the version.
std::map<std::string, Fd> open_version(const DaemonProcess& daemon, const std::string& number) {
  std::map<std::string, Fd> opened;
  for (const std::string& path : pins_of(daemon)) {
    if (!path.ends_with("-" + number) || path.find("/group-") == std::string::npos) continue;
    const std::string what = path.substr(0, path.size() - number.size());
    if (what.ends_with("steer-") || what.ends_with("rows-") || what.ends_with("control-"))
      opened.emplace(what, Fd(checked(bpf_obj_get(path.c_str()), "open " + path)));
  }
  return opened;
}

Finished start_at(Machine& machine, const std::string& pins) {
  return run(machine, {.argv = {built("daemon/subsetd"), "--config", "/dev/null", "--socket",
                                machine.file("other"), "--pin-dir", pins, "--http", "off"}});
}

TEST_SUITE("system") {
  TEST_CASE("pins that are removed while the daemon runs are made again") {
    SUBCASE("all of them") {
      check_healed([](const DaemonProcess& daemon) { fs::remove_all(daemon.pins()); });
    }
    SUBCASE("one group's record") {
      check_healed([](const DaemonProcess& daemon) {
        for (const std::string& pin : pins_of(daemon))
          if (pin.find("/record-") != std::string::npos) fs::remove(pin);
      });
    }
  }

  TEST_CASE("pins that are removed while no daemon runs: the kernel's hash, and nothing is lost") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(5));
    daemon.kill9();
    PacedLoad load(flows);
    load.wait_rounds(10);
    fs::remove_all(daemon.pins());
    load.wait_rounds(10);
    daemon.start();
    load.wait_rounds(10);
    load.stop();
    CHECK(flows.lost().empty());
    CHECK(daemon.status().groups.empty());

    // Restarted, they are known again.
    servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows again(kAddress, kFlows);
    CHECK(again.exchange(5));
    CHECK(daemon.status().group(kGroup).active() == 4);
    CHECK(daemon.status().group(kGroup).home == again.sent());
  }

  // Between publishing a version and unpinning the one before it. "steer-10" comes before "steer-9"
  // where names are sorted, so who looks no further than to the version in force keeps the other.
  TEST_CASE("a daemon that was killed before it unpinned the former program: the next one does") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    int changes = 0;
    const auto reshape = [&] {
      tell(daemon, kGroup, mode(changes++ % 2 ? Mode::Hash : Mode::Source));
    };
    while (open_version(daemon, "9").empty()) {
      REQUIRE(changes < 20);
      reshape();
    }
    {
      const auto former = open_version(daemon, "9");
      REQUIRE(former.size() == 3);
      reshape();
      REQUIRE(open_version(daemon, "10").size() == 3);
      daemon.kill9();
      for (const auto& [what, fd] : former)
        checked(bpf_obj_pin(fd.get(), (what + "9").c_str()), "pin " + what + "9");
    }
    daemon.start();
    CHECK(open_version(daemon, "9").empty());
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(5));
    CHECK(daemon.status().group(kGroup).home == flows.sent());
  }

  TEST_CASE("pins cannot be made: what is steered goes on, a new group is refused") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    {
      const ReadOnlyBpffs nothing_can_be_pinned;
      servers.pop_back();  // a change of the table needs no pin
      CHECK(eventually([&] { return daemon.status().group(kGroup).active() == 3; }));
      CHECK(flows.exchange(5));
      UdpServer other(
          machine,
          {.id = 9, .addresses = {"127.0.0.1:5454"}, .environment = daemon.environment("0/2")});
      CHECK(other.process().err().find("Read-only file system") != std::string::npos);
      UdpFlows unsteered("127.0.0.1:5454", 8);
      CHECK(unsteered.exchange(5));
      CHECK(daemon.status().find("udp/127.0.0.1:5454") == nullptr);
    }
    CHECK(daemon.alive());
    UdpServer later(
        machine,
        {.id = 10, .addresses = {"127.0.0.1:5455"}, .environment = daemon.environment("0/2")});
    CHECK(daemon.status().group("udp/127.0.0.1:5455").active() == 1);
  }

  TEST_CASE("a place that cannot hold pins is refused at the start") {
    Machine machine;
    const auto refusal = [&](const std::string& pins) {
      const Finished finished = start_at(machine, pins);
      CHECK(finished.status == 1);
      return finished.err;
    };
    const std::string file = machine.file("no-directory");
    std::ofstream(file) << "x";
    CHECK(refusal(file).find("subsetd: ") != std::string::npos);
    CHECK(refusal(file).find(file) != std::string::npos);
    CHECK(refusal("/nowhere/pins").find("No such file or directory") != std::string::npos);
    const ReadOnlyBpffs nothing_can_be_pinned;
    CHECK(refusal(std::string(kBpffs) + "/other").find("Read-only file system") !=
          std::string::npos);
  }
}

}  // namespace
}  // namespace subset::test
