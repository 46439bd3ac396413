// SPDX-License-Identifier: MIT
// Servers whose workers share what their parent opened: each gets a member of its own, behind the
// same descriptor number, and the parent's socket takes no traffic.
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:8080";
constexpr char kGroup[] = "tcp/127.0.0.1:8080";
constexpr char kNginx[] = "/usr/sbin/nginx";  // it executes itself by this name
constexpr size_t kWorkers = 4;

Environment spread(const DaemonProcess& daemon, const char* how) {
  Environment environment = daemon.environment("0/1");
  environment["SUBSET_SPREAD"] = how;
  return environment;
}

Environment fork_spread(const DaemonProcess& daemon) {
  return spread(daemon, "fork");
}

// A connection over which `request` has been sent; empty if anything goes wrong.
Fd send_request(const std::string& request) {
  Address address(kAddress);
  Fd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd.get(), address.get(), address.size()) < 0) return {};
  if (!request.empty() && send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0)
    return {};
  return fd;
}

// All that comes until the other side closes. Empty if anything goes wrong.
std::string read_answer(const Fd& fd) {
  if (!fd) return "";
  std::string answer;
  char part[1024];
  ssize_t size = 0;
  while ((size = recv(fd.get(), part, sizeof part, 0)) > 0)
    answer.append(part, static_cast<size_t>(size));
  return size == 0 ? answer : "";
}

std::string ask(const std::string& request) {
  return read_answer(send_request(request));
}

constexpr char kGet[] = "GET / HTTP/1.0\r\n\r\n";

// The process that answered a page which is its number; 0 for any other answer.
int process_in(const std::string& answer) {
  auto body = answer.find("\r\n\r\n");
  if (answer.find(" 200 OK") == std::string::npos || body == std::string::npos) return 0;
  return std::atoi(answer.c_str() + body);
}

int ask_http() {
  return process_in(ask(kGet));
}

int worker_in(const std::string& answer) {
  uint32_t pid = 0;
  if (answer.size() != sizeof pid) return 0;
  answer.copy(reinterpret_cast<char*>(&pid), sizeof pid);
  return static_cast<int>(pid);
}

int ask_worker() {
  return worker_in(ask(""));
}

// Who answered how often; 0: nobody did.
template <typename Ask>
std::map<int, size_t> ask_often(Ask ask_one, size_t count) {
  std::map<int, size_t> answers;
  for (size_t i = 0; i < count; i++) answers[ask_one()]++;
  return answers;
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

std::set<int> active_pids(const DaemonProcess& daemon, const std::string& id = kGroup) {
  std::set<int> pids;
  Document status = daemon.status();
  const GroupStatus* group = status.find(id);
  if (!group) return pids;
  for (const MemberStatus& member : group->members)
    if (member.state == "active" && member.pid) pids.insert(*member.pid);
  return pids;
}

bool has_members(const DaemonProcess& daemon, size_t count) {
  return eventually([&] { return active_pids(daemon).size() == count; });
}

// Clients that make one connection after another until they are stopped.
class HttpLoad {
 public:
  explicit HttpLoad(size_t clients = 1) {
    for (size_t i = 0; i < clients; i++) threads_.emplace_back([this] { work(); });
  }
  ~HttpLoad() { stop(); }

  void stop() {
    stopping_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void wait_answers(size_t more) const { wait_for(answered_ + more); }
  void wait_for(size_t goal) const {
    eventually([&] { return answered_ >= goal; }, 60s);
  }
  size_t answered() const { return answered_; }
  size_t failed() const { return failed_; }
  // errno of one that failed; 0: it was closed before there was a whole answer.
  int error() const { return error_; }

 private:
  void work() {
    while (!stopping_) {
      errno = 0;
      if (ask_http() > 0) {
        ++answered_;
      } else {
        ++failed_;
        error_ = errno;
      }
    }
  }

  std::atomic<bool> stopping_ = false;
  std::atomic<size_t> answered_ = 0;
  std::atomic<size_t> failed_ = 0;
  std::atomic<int> error_ = 0;
  std::vector<std::thread> threads_;
};

std::string write_nginx_configuration(Machine& machine, bool background = false) {
  std::string path = machine.file("nginx.conf");
  std::string directory = machine.file("");
  std::ofstream(path) << "worker_processes 4; daemon " << (background ? "on" : "off") << ";\n"
                      << "pid " << directory << "pid; error_log " << directory << "error.log;\n"
                      << "events { worker_connections 256; }\n"
                      << "http { access_log off;\n"
                      << "client_body_temp_path " << directory << "a;\n"
                      << "proxy_temp_path " << directory << "b;\n"
                      << "fastcgi_temp_path " << directory << "c;\n"
                      << "uwsgi_temp_path " << directory << "d;\n"
                      << "scgi_temp_path " << directory << "e;\n"
                      << "server { listen " << kAddress << ";\n"
                      << "location / { return 200 \"$pid\"; } } }\n";
  return path;
}

// For gunicorn: a page that is the number of the worker.
void write_pid_app(Machine& machine) {
  std::ofstream(machine.file("pid_app.py"))
      << "import os\n"
         "def app(environ, start):\n"
         "    start('200 OK', [('Content-Type', 'text/plain')])\n"
         "    return [str(os.getpid()).encode()]\n";
}

pid_t read_nginx_pid(Machine& machine) {
  return std::stoi(read_file(machine.file("pid")));
}

Process start_nginx(Machine& machine, const DaemonProcess& daemon,
                    std::optional<uid_t> user = std::nullopt) {
  return Process(machine, {.argv = {kNginx, "-c", write_nginx_configuration(machine)},
                           .environment = fork_spread(daemon),
                           .user = user});
}

void check_each_answers(const std::map<int, size_t>& answers, const std::set<int>& workers) {
  CHECK(answers.count(0) == 0);
  for (const auto& [pid, count] : answers) CHECK(workers.count(pid) == 1);
  CHECK(answers.size() == workers.size());
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

  // nginx tells its old workers to go 100 ms after it has forked the new ones. On a machine so busy
  // that these have not begun to wait by then nobody listens for a moment, so this test has to have
  // the machine to itself.
  TEST_CASE("nginx without reuseport: three reloads under 40,000 connections fail none") {
    constexpr size_t kConnections = 40'000;
    Machine machine;
    DaemonProcess daemon(machine);
    Process nginx = start_nginx(machine, daemon);
    REQUIRE(has_members(daemon, kWorkers));
    check_each_answers(ask_often(ask_http, 200), active_pids(daemon));

    HttpLoad load(4);
    for (size_t reload = 1; reload <= 3; reload++) {
      auto old = active_pids(daemon);
      load.wait_for(reload * kConnections / 4);
      REQUIRE(run(machine, {.argv = {kNginx, "-c", machine.file("nginx.conf"), "-s", "reload"}})
                  .status == 0);
      REQUIRE(eventually([&] {
        auto now = active_pids(daemon);
        for (int pid : old) now.erase(pid);
        return now.size() == kWorkers;
      }));
    }
    load.wait_for(kConnections);
    load.stop();
    CHECK(load.answered() >= kConnections);
    CAPTURE(load.error());
    CHECK(load.failed() == 0);
    CHECK(has_members(daemon, kWorkers));  // those of before have gone
    check_each_answers(ask_often(ask_http, 200), active_pids(daemon));
  }

  // The victim is stopped first, so that it accepts none of the connections that are its share: all
  // of them wait in its queue when it is killed, and all have to be answered by others.
  TEST_CASE("nginx: a worker that is killed fails no connection that it had not accepted") {
    constexpr size_t kConnections = 200;
    Machine machine;
    DaemonProcess daemon(machine);
    Process nginx = start_nginx(machine, daemon);
    REQUIRE(has_members(daemon, kWorkers));
    const int victim = *active_pids(daemon).begin();
    REQUIRE(kill(victim, SIGSTOP) == 0);
    std::vector<Fd> connections;
    for (size_t i = 0; i < kConnections; i++) connections.push_back(send_request(kGet));
    uint64_t waiting = 0;
    Document status = daemon.status();
    for (const MemberStatus& member : status.group(kGroup).members)
      if (member.pid == victim) waiting = member.selected;
    CHECK(waiting > 0);
    REQUIRE(kill(victim, SIGKILL) == 0);
    for (const Fd& connection : connections) {
      const int worker = process_in(read_answer(connection));
      CHECK(worker != 0);
      CHECK(worker != victim);
    }
    REQUIRE(eventually([&] {
      auto now = active_pids(daemon);
      return now.size() == kWorkers && now.count(victim) == 0;
    }));
    check_each_answers(ask_often(ask_http, 200), active_pids(daemon));
  }

  TEST_CASE("nginx of a user: four members") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process nginx = start_nginx(machine, daemon, kNobody);
    REQUIRE(has_members(daemon, kWorkers));
    check_each_answers(ask_often(ask_http, 200), active_pids(daemon));
    CHECK(daemon.status().group(kGroup).uid == kNobody);
  }

  // nginx executes itself with an environment that holds nothing but its own variables, and with a
  // listener that does not listen yet. It does so only in the background.
  TEST_CASE("nginx upgraded on the fly: the new workers take over, and no request fails") {
    Machine machine;
    DaemonProcess daemon(machine);
    Finished start = run(machine, {.argv = {kNginx, "-c", write_nginx_configuration(machine, true)},
                                   .environment = fork_spread(daemon)});
    REQUIRE(start.status == 0);
    const pid_t master = read_nginx_pid(machine);
    REQUIRE(has_members(daemon, kWorkers));
    auto old = active_pids(daemon);
    HttpLoad load;
    load.wait_answers(100);
    REQUIRE(kill(master, SIGUSR2) == 0);
    REQUIRE(eventually([&] {
      auto now = active_pids(daemon);
      for (int pid : old) now.erase(pid);
      return now.size() == kWorkers;
    }));
    load.wait_answers(100);
    REQUIRE(kill(master, SIGQUIT) == 0);
    CHECK(eventually([&] { return kill(master, 0) < 0; }));
    load.wait_answers(100);
    load.stop();
    CHECK(load.failed() == 0);
    check_each_answers(ask_often(ask_http, 200), active_pids(daemon));
    CHECK(kill(read_nginx_pid(machine), SIGTERM) == 0);
  }

  TEST_CASE("gunicorn: a member for each worker, also after a reload") {
    Machine machine;
    write_pid_app(machine);
    DaemonProcess daemon(machine);
    Process gunicorn(machine, {.argv = {"gunicorn", "-w", "4", "-b", kAddress, "--chdir",
                                        machine.file(""), "pid_app:app"},
                               .environment = fork_spread(daemon)});
    REQUIRE(has_members(daemon, kWorkers));
    auto workers = active_pids(daemon);
    check_each_answers(ask_often(ask_http, 100), workers);
    gunicorn.signal(SIGHUP);
    REQUIRE(eventually([&] {
      auto now = active_pids(daemon);
      for (int pid : workers) now.erase(pid);
      return now.size() == kWorkers && active_pids(daemon).size() == kWorkers;
    }));
    check_each_answers(ask_often(ask_http, 100), active_pids(daemon));
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
