// SPDX-License-Identifier: MIT
// nginx and gunicorn as they are, with a member for each of their forked workers: reloads, upgrades
// and kills, under load.
#include <signal.h>

#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/load.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/workers.h"

namespace subset::test {
namespace {

constexpr char kNginx[] = "/usr/sbin/nginx";  // it executes itself by this name

bool answers() {
  return ask_http() > 0;
}

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

pid_t read_nginx_pid(Machine& machine) {
  return std::stoi(read_file(machine.file("pid")));
}

Process start_nginx(Machine& machine, const DaemonProcess& daemon,
                    std::optional<uid_t> user = std::nullopt) {
  return Process(machine, {.argv = {kNginx, "-c", write_nginx_configuration(machine)},
                           .environment = fork_spread(daemon),
                           .user = user});
}

TEST_SUITE("system") {
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

    Load load(answers, 4);
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
    Load load(answers);
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
}

}  // namespace
}  // namespace subset::test
