// SPDX-License-Identifier: MIT
// The examples do what they say, and so does the container of docs/OPERATIONS.md: each is started
// as a reader would start it, but for the path of the command and the daemon, and asked by the
// client that it names.
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

constexpr size_t kQuestions =
    64;  // of as many flows: none of four members gets less than one of them

Environment reader(const DaemonProcess& daemon) {
  return {{"PATH", built("ctl").string() + ":" + std::getenv("PATH")},
          {"SUBSET_SOCKET", daemon.socket()}};
}

Process start(Machine& machine, const DaemonProcess& daemon, const std::string& example,
              const std::vector<std::string>& arguments = {}) {
  Command command{.argv = {source("examples") / example}, .environment = reader(daemon)};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  return Process(machine, command);
}

bool serves(const DaemonProcess& daemon, const std::string& group, size_t members) {
  return eventually([&] {
    const Document status = daemon.status();
    const GroupStatus* found = status.find(group);
    return found && found->active() == members;
  });
}

// Lines with the answer, of what a shell command writes.
size_t answers(Machine& machine, const std::string& ask, const std::string& answer) {
  const Finished asked = run(machine, {.argv = {"/bin/bash", "-c", ask}});
  CAPTURE(asked.err);
  return lines_with(asked.out, answer).size();
}

std::string often(const std::string& ask) {
  return "for i in $(seq " + std::to_string(kQuestions) + "); do " + ask + "; done";
}

// One dig, with a socket of its own for each question.
constexpr char kDig[] = "dig +short +tries=1 @127.0.0.1 -p 5300 $(seq -f 'any%g.name' 64)";

void check_shares(const DaemonProcess& daemon, const std::string& group) {
  const Document status = daemon.status();
  for (const MemberStatus& member : status.group(group).members) CHECK(member.selected > 0);
  CHECK(status.group(group).kernel == 0);
}

// Ctrl-C, on which all ends.
void stop(Process& example) {
  example.signal(SIGINT);
  CHECK(example.wait(15s) == 0);
}

TEST_SUITE("system") {
  TEST_CASE("dns.sh: four dnsmasq, UDP and TCP") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process example = start(machine, daemon, "dns.sh");
    REQUIRE(serves(daemon, "udp/127.0.0.1:5300", 4));
    REQUIRE(serves(daemon, "tcp/127.0.0.1:5300", 4));
    CHECK(answers(machine, kDig, "192.0.2.1") == kQuestions);
    check_shares(daemon, "udp/127.0.0.1:5300");
    stop(example);
  }

  TEST_CASE("syslog.sh: three rsyslogd, each datagram for itself") {
    Machine machine;
    DaemonProcess daemon(machine);
    const fs::path directory = machine.file("");
    Process example = start(machine, daemon, "syslog.sh", {directory});
    REQUIRE(serves(daemon, "udp/127.0.0.1:5140", 3));
    // One sender, one flow.
    const Finished sent = run(machine, {.argv = {"/bin/sh", "-c",
                                                 "seq -f 'message %g' 64 | logger --udp --server "
                                                 "127.0.0.1 --port 5140"}});
    REQUIRE(sent.status == 0);
    CHECK(eventually([&] {
      size_t lines = 0;
      for (const char* log : {"log.0", "log.1", "log.2"})
        if (fs::exists(directory / log))
          lines += lines_with(read_file(directory / log), "message ").size();
      return lines == kQuestions;
    }));
    check_shares(daemon, "udp/127.0.0.1:5140");
    stop(example);
  }

  TEST_CASE("http.sh: two nginx of two workers") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process example = start(machine, daemon, "http.sh", {machine.file("")});
    REQUIRE(serves(daemon, "tcp/127.0.0.1:8080", 4));
    CHECK(answers(machine, often("curl -sS http://127.0.0.1:8080/"), "worker ") == kQuestions);
    CHECK(daemon.status().group("tcp/127.0.0.1:8080").mode == "least");
    stop(example);
  }

  TEST_CASE("memcached.sh: four threads, each with a socket of its own") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process example = start(machine, daemon, "memcached.sh");
    REQUIRE(serves(daemon, "udp/127.0.0.1:11311", 4));
    const std::string ask =
        "exec 3<>/dev/udp/127.0.0.1/11311; printf '\\0\\1\\0\\0\\0\\1\\0\\0version\\r\\n' >&3;"
        " head -c 12 <&3 | tail -c 4; echo; exec 3>&-";
    CHECK(answers(machine, often(ask), "VERS") == kQuestions);
    check_shares(daemon, "udp/127.0.0.1:11311");
    stop(example);
  }

  // What a pod is to the kernel: containers with namespaces of their own for mounts, processes and
  // names, which share one for the network; the daemon is outside all of them. The number of the
  // instance is the end of the container's name.
  TEST_CASE("two containers of a pod, and the daemon on the host") {
    Machine machine;
    DaemonProcess daemon(machine);
    const std::string server =
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --port=5300"
        " --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --user=root"
        " --address=/#/192.0.2.1";
    const std::string pod =
        "ip link set lo up; for i in 0 1; do"
        " unshare --mount --pid --uts --fork --kill-child --mount-proc sh -c \"hostname dns-$i;"
        " name=\\$(hostname); SUBSET=\\${name##*-}/2 LD_PRELOAD=" +
        built("shim/libsubset.so").string() + " " + server + "\" & done; wait";
    Command command{.argv = {"unshare", "--net", "bash", "-c", pod}, .environment = reader(daemon)};
    Process containers(machine, command);
    const auto pod_group = [&]() -> std::optional<GroupStatus> {
      for (const GroupStatus& group : daemon.status().groups)
        if (group.id.starts_with("udp/127.0.0.1:5300@")) return group;
      return std::nullopt;
    };
    REQUIRE(eventually([&] { return pod_group() && pod_group()->active() == 2; }));
    const int pid = pod_group()->members.front().pid.value_or(0);
    REQUIRE(pid > 0);  // as the daemon sees it, whatever it is in the container
    const std::string enter = "nsenter --net=/proc/" + std::to_string(pid) + "/ns/net ";
    CHECK(answers(machine, enter + kDig, "192.0.2.1") == kQuestions);
    check_shares(daemon, pod_group()->id);
    const GroupStatus group = *pod_group();
    for (const MemberStatus& member : group.members) kill(*member.pid, SIGTERM);
    CHECK(containers.wait().has_value());
  }
}

}  // namespace
}  // namespace subset::test
