// SPDX-License-Identifier: MIT
// Servers whose workers share what their parent opened: each gets a member of its own, behind the
// same descriptor number, and the parent's socket takes no traffic.
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <thread>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/workers.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

int worker_in(const std::string& answer) {
  uint32_t pid = 0;
  if (answer.size() != sizeof pid) return 0;
  answer.copy(reinterpret_cast<char*>(&pid), sizeof pid);
  return static_cast<int>(pid);
}

int ask_worker() {
  return worker_in(read_answer(send_request("")));
}

// One datagram in a flow of its own, and the answer to it; empty if none comes.
std::string ask_udp(const std::string& where, const std::string& question,
                    Clock::duration limit = kPatience) {
  Address address(where);
  Fd fd(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(limit).count();
  timeval wait{.tv_sec = microseconds / 1000000, .tv_usec = microseconds % 1000000};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  if (connect(fd.get(), address.get(), address.size()) < 0) return "";
  if (send(fd.get(), question.data(), question.size(), 0) < 0) return "";
  char answer[256];
  ssize_t size = recv(fd.get(), answer, sizeof answer, 0);
  return size > 0 ? std::string(answer, static_cast<size_t>(size)) : "";
}

// A request with memcached's UDP header in front.
std::string ask_memcached(Clock::duration limit = kPatience) {
  return ask_udp("127.0.0.1:11211", std::string("\0\1\0\0\0\1\0\0version\r\n", 17), limit);
}

TEST_SUITE("system") {
  TEST_CASE("each forked worker is a member, however it waits, and none is the parent") {
    for (const char* how : {"accept", "poll", "select", "epoll", "dup"}) {
      CAPTURE(how);
      Machine machine;
      DaemonProcess daemon(machine);
      Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", how,
                                        "--workers", "4", kAddress},
                               .environment = fork_spread(daemon)});
      REQUIRE(server.wrote("ready"));
      REQUIRE(has_members(daemon, kWorkers));
      auto workers = active_pids(daemon);
      CHECK(workers.count(server.pid()) == 0);
      check_each_answers(ask_often(ask_worker, 200), workers);
      CHECK(daemon.status().group(kGroup).strangers == 0);
      CHECK(server.alive());
      CHECK(server.err() == "");
    }
  }

  // A socket's owner is part of what the kernel groups by.
  TEST_CASE("workers that drop their user, and those whose parent did, are of one group") {
    for (const char* drop : {"before", "after"}) {
      CAPTURE(drop);
      Machine machine;
      DaemonProcess daemon(machine);
      Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", "epoll",
                                        "--workers", "4", "--drop", drop, kAddress},
                               .environment = fork_spread(daemon)});
      REQUIRE(has_members(daemon, kWorkers));
      check_each_answers(ask_often(ask_worker, 200), active_pids(daemon));
      CHECK(daemon.status().group(kGroup).uid == (drop == std::string("before") ? kNobody : 0));
      CHECK(server.err() == "");
    }
  }

  // The epoll set holds the parent's file: a sibling behind the number would never be seen there.
  TEST_CASE("a listener in an epoll set from before the fork stays shared") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", "early",
                                      "--workers", "4", kAddress},
                             .environment = fork_spread(daemon)});
    REQUIRE(server.wrote("ready"));
    REQUIRE(has_members(daemon, 1));
    CHECK(ask_often(ask_worker, 100).count(0) == 0);
    CHECK(daemon.status().group(kGroup).selected() == 100);
  }

  TEST_CASE("a worker that is killed gives its share back") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", "epoll",
                                      "--workers", "4", kAddress},
                             .environment = fork_spread(daemon)});
    REQUIRE(has_members(daemon, kWorkers));
    auto workers = active_pids(daemon);
    REQUIRE(kill(*workers.begin(), SIGKILL) == 0);
    workers.erase(workers.begin());
    REQUIRE(has_members(daemon, kWorkers - 1));
    check_each_answers(ask_often(ask_worker, 100), workers);
  }

  // The parent's socket cannot leave the kernel's group; it leaves the map, and is no stranger,
  // also for a daemon that starts later.
  TEST_CASE("forked workers of a UDP server are members, and their parent gets nothing") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", "datagrams",
                                      "--workers", "4", kAddress},
                             .environment = fork_spread(daemon)});
    constexpr char kUdpGroup[] = "udp/127.0.0.1:8080";
    auto all_serve = [&] {
      auto pids = active_pids(daemon, kUdpGroup);
      return pids.size() == kWorkers && pids.count(server.pid()) == 0;
    };
    REQUIRE(eventually(all_serve));
    auto workers = active_pids(daemon, kUdpGroup);
    auto ask_one = [] { return worker_in(ask_udp(kAddress, "who?", 2s)); };
    check_each_answers(ask_often(ask_one, 200), workers);
    CHECK(daemon.status().group(kUdpGroup).kernel == 0);
    std::this_thread::sleep_for(1500ms);  // a search for strangers
    CHECK(daemon.status().group(kUdpGroup).strangers == 0);

    daemon.kill9();
    daemon.start();
    CHECK(eventually(all_serve));
    check_each_answers(ask_often(ask_one, 200), workers);
    std::this_thread::sleep_for(1500ms);
    CHECK(daemon.status().group(kUdpGroup).strangers == 0);
    CHECK(server.err() == "");
  }

  // They never wait for anything but in the receive itself.
  TEST_CASE("forked workers that only block in a receive are members too") {
    for (const char* how : {"recv", "recvfrom", "recvmsg", "recvmmsg", "read", "readv"}) {
      CAPTURE(how);
      Machine machine;
      DaemonProcess daemon(machine);
      Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", how,
                                        "--workers", "2", kAddress},
                               .environment = fork_spread(daemon)});
      constexpr char kUdpGroup[] = "udp/127.0.0.1:8080";
      REQUIRE(eventually([&] {
        auto pids = active_pids(daemon, kUdpGroup);
        return pids.size() == 2 && pids.count(server.pid()) == 0;
      }));
      auto ask_one = [] { return worker_in(ask_udp(kAddress, "who?", 2s)); };
      check_each_answers(ask_often(ask_one, 50), active_pids(daemon, kUdpGroup));
      CHECK(server.err() == "");
    }
  }

  TEST_CASE("without a daemon the workers share one listener, as without the shim") {
    Machine machine;
    Environment environment = shim_environment(machine.file("nobody"), "0/1");
    environment["SUBSET_SPREAD"] = "fork";
    Process server(machine, {.argv = {built("tests/system/prefork_server"), "--wait", "poll",
                                      "--workers", "2", kAddress},
                             .environment = environment});
    REQUIRE(server.wrote("ready"));
    CHECK(ask_often(ask_worker, 50).count(0) == 0);
  }

  // The paper's own case: one process, one socket, several threads that contend for it.
  TEST_CASE("memcached: each thread's duplicate of the UDP socket is a member") {
    Machine machine;
    DaemonProcess daemon(machine);
    Environment environment = spread(daemon, "dup");
    environment["SUBSET_MATCH"] = "udp";
    Process memcached(machine, {.argv = {"memcached", "-u", "root", "-l", "127.0.0.1", "-p", "0",
                                         "-U", "11211", "-t", "4"},
                                .environment = environment});
    constexpr char kUdpGroup[] = "udp/127.0.0.1:11211";
    REQUIRE(eventually([&] {
      Document status = daemon.status();
      return status.find(kUdpGroup) && status.group(kUdpGroup).active() == 4;
    }));
    constexpr int kFlows = 200;
    for (int i = 0; i < kFlows; i++) CHECK(ask_memcached().find("VERSION") != std::string::npos);
    Document status = daemon.status();
    const GroupStatus& group = status.group(kUdpGroup);
    CHECK(group.home == kFlows);
    CHECK(group.strangers == 0);
    for (const MemberStatus& member : group.members) CHECK(member.selected > 0);
  }

  TEST_CASE("without a daemon the duplicates share by the kernel's hash, and each is read") {
    Machine machine;
    Environment environment = shim_environment(machine.file("nobody"), "0/1");
    environment["SUBSET_SPREAD"] = "dup";
    environment["SUBSET_MATCH"] = "udp";
    Process memcached(machine, {.argv = {"memcached", "-u", "root", "-l", "127.0.0.1", "-p", "0",
                                         "-U", "11211", "-t", "4"},
                                .environment = environment});
    REQUIRE(eventually([&] { return !ask_memcached(200ms).empty(); }));
    for (int i = 0; i < 100; i++) CHECK(ask_memcached().find("VERSION") != std::string::npos);
  }

  // The listener was bound by somebody else, with SO_REUSEPORT (ReusePort=yes), and is passed on.
  TEST_CASE("an activated socket is a member from the start") {
    Machine machine;
    write_pid_app(machine);
    DaemonProcess daemon(machine);
    Address address(kAddress);
    Fd listener(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    int on = 1;
    REQUIRE(setsockopt(listener.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
    REQUIRE(bind(listener.get(), address.get(), address.size()) == 0);
    REQUIRE(listen(listener.get(), 64) == 0);
    Process gunicorn(machine,
                     {.argv = {"gunicorn", "-w", "2", "--chdir", machine.file(""), "pid_app:app"},
                      .environment = daemon.environment("0/1"),
                      .listener = listener.get()});
    REQUIRE(has_members(daemon, 1));
    CHECK(active_pids(daemon) == std::set<int>{gunicorn.pid()});
    CHECK(ask_often(ask_http, 50).count(0) == 0);
    CHECK(daemon.status().group(kGroup).selected() == 50);
  }
}

}  // namespace
}  // namespace subset::test
