// SPDX-License-Identifier: MIT
// What an administrator's rm, a bad mount, or another tool does to the place where steering is kept
// while no daemon runs. Servers go on in each case: what steers them is the kernel's, not the file
// system's. What is told apart is who can mend it:
//
//   - while the daemon runs it has everything in hand, and makes again what is gone; the next one
//     must find it as if nothing had happened;
//   - where it cannot (the file system is read-only, gone, or another daemon's by now) it goes on
//     and says so, and refuses what it could not keep: a new group, whose server then goes on with
//     the kernel's hash; what is another daemon's it neither adds to nor takes;
//   - without a daemon the pins are all there is: the kernel's hash decides from then on, nothing
//     is lost, and servers that are restarted are steered again;
//   - a place that cannot hold pins is refused at the start, in one line.
//
// A bpffs has no size that could run out, so "full" is tried as what it would look like: each pin
// is refused.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
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

// A daemon beside another one, with the same place for its pins.
class SecondDaemon {
 public:
  SecondDaemon(Machine& machine, const DaemonProcess& first)
      : socket_(machine.file(machine.unique("second"))),
        process_(machine, {.argv = {built("daemon/subsetd"), "--config", "/dev/null", "--socket",
                                    socket_, "--pin-dir", first.pins(), "--http", "off"}}) {
    REQUIRE(eventually([&] { return answers(socket_); }));
  }
  Environment environment(const std::string& share) const {
    return shim_environment(socket_, share);
  }
  Document status() const { return fetch_status(socket_); }
  void stop() {
    process_.signal(SIGTERM);
    CHECK(process_.wait() == 0);
  }

 private:
  std::string socket_;
  Process process_;
};

// A server at an address of its own; what its shim says about it.
struct Newcomer {
  Newcomer(Machine& machine, const std::string& at, const Environment& environment)
      : address(at), server(machine, {.id = 9, .addresses = {at}, .environment = environment}) {}
  std::string group() const { return "udp/" + address; }
  bool said(const std::string& text) { return server.process().err().find(text) != npos; }
  bool serves() const { return UdpFlows(address, 8).exchange(5); }
  static constexpr auto npos = std::string::npos;
  std::string address;
  UdpServer server;
};

bool says(const DaemonProcess& daemon, const std::string& text) {
  return daemon.err().find(text) != std::string::npos;
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
      Newcomer refused(machine, "127.0.0.1:5454", daemon.environment("0/2"));
      CHECK(refused.said("Read-only file system"));
      CHECK(refused.serves());
      CHECK(daemon.status().find(refused.group()) == nullptr);
    }
    CHECK(daemon.alive());
    const Newcomer steered(machine, "127.0.0.1:5455", daemon.environment("0/2"));
    CHECK(daemon.status().group(steered.group()).active() == 1);
  }

  TEST_CASE("the bpffs is unmounted under the daemon, and mounted again") {
    Machine machine;
    const OtherMount nothing_to_pin_in("tmpfs");
    std::optional<OtherMount> bpffs("bpf");
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    PacedLoad load(flows);
    load.wait_rounds(10);
    const auto before = pins_of(daemon);

    bpffs.reset();
    Newcomer refused(machine, "127.0.0.1:5454", daemon.environment("0/2"));
    CHECK(refused.said(daemon.pins() + " is in no bpffs any more"));
    CHECK(refused.serves());
    CHECK(daemon.status().find(refused.group()) == nullptr);
    CHECK(eventually([&] { return says(daemon, "pins are gone and cannot be made again"); }));
    CHECK_FALSE(fs::exists(daemon.pins()));

    bpffs.emplace("bpf");
    CHECK(eventually([&] { return pins_of(daemon) == before; }));
    const Newcomer steered(machine, "127.0.0.1:5455", daemon.environment("0/2"));
    daemon.kill9();
    daemon.start();
    load.wait_rounds(10);
    load.stop();
    CHECK(flows.lost().empty());
    CHECK(daemon.status().group(kGroup).active() == 4);
    CHECK(daemon.status().group(kGroup).home == flows.sent());
    CHECK(daemon.status().group(steered.group()).active() == 1);
  }

  TEST_CASE("another file system is mounted over the bpffs, and taken away") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    const auto before = pins_of(daemon);
    {
      const OtherMount in_the_way("tmpfs");
      Newcomer refused(machine, "127.0.0.1:5454", daemon.environment("0/2"));
      CHECK(refused.said("is in no bpffs any more"));
      CHECK(refused.serves());
      CHECK(eventually([&] { return says(daemon, "pins are gone and cannot be made again"); }));
      CHECK_FALSE(fs::exists(daemon.pins()));
    }
    CHECK(pins_of(daemon) == before);
    const Newcomer steered(machine, "127.0.0.1:5455", daemon.environment("0/2"));
    CHECK(daemon.status().group(steered.group()).active() == 1);
    UdpFlows flows(kAddress, kFlows);
    CHECK(flows.exchange(5));
    CHECK(daemon.status().group(kGroup).home == flows.sent());
  }

  // The first one sleeps over the removal and the second one's start, so that it has not looked.
  TEST_CASE("another daemon starts where the pins were removed: neither touches the other's") {
    Machine machine;
    DaemonProcess first(machine);
    auto servers = start_instances(machine, first, 4, kAddress);
    UdpFlows flows(kAddress, kFlows);
    PacedLoad load(flows);
    load.wait_rounds(10);
    const auto before = pins_of(first);
    first.hang();
    fs::remove_all(first.pins());
    std::optional<SecondDaemon> second(std::in_place, machine, first);
    const Newcomer seconds(machine, "127.0.0.1:5454", second->environment("0/2"));
    const auto of_second = pins_of(first);
    REQUIRE(second->status().group(seconds.group()).active() == 1);

    first.wake();
    Newcomer refused(machine, "127.0.0.1:5455", first.environment("0/2"));
    CHECK(refused.said("another subsetd works on " + first.pins()));
    CHECK(refused.serves());
    CHECK(first.status().find(refused.group()) == nullptr);
    CHECK(eventually([&] { return says(first, "again: another subsetd works on"); }));
    CHECK(pins_of(first) == of_second);

    second->stop();
    CHECK(eventually([&] { return says(first, "holds what another subsetd has pinned"); }));
    Newcomer again(machine, "127.0.0.1:5456", first.environment("0/2"));
    CHECK(again.said("holds what another subsetd has pinned"));
    CHECK(pins_of(first) == of_second);
    second.emplace(machine, first);
    CHECK(second->status().group(seconds.group()).active() == 1);
    CHECK(second->status().groups.size() == 1);
    second->stop();

    fs::remove_all(first.pins());
    CHECK(eventually([&] { return pins_of(first) == before; }));
    load.wait_rounds(10);
    load.stop();
    CHECK(flows.lost().empty());
    CHECK(first.status().group(kGroup).active() == 4);
    CHECK(first.status().group(kGroup).home == flows.sent());
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
