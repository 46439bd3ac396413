// SPDX-License-Identifier: MIT
// Four copies of a web server that nobody modified, on one port, under load: nginx (one process,
// epoll) and Python's http.server (a thread for each request), with a connection for each request.
// The modes follow one another while the servers run. No request may fail, and the connections are
// shared as each mode promises.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/cpus.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/process.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:8080";
constexpr char kGroup[] = "tcp/127.0.0.1:8080";
constexpr uint32_t kInstances = 4;

std::filesystem::path nginx_configuration(Machine& machine, uint32_t instance) {
  const std::string prefix = machine.file("nginx-" + std::to_string(instance));
  std::filesystem::create_directory(prefix);
  std::ofstream(prefix + "/nginx.conf") << "daemon off;\n"
                                           "master_process off;\n"
                                           "error_log stderr;\n"
                                           "pid nginx.pid;\n"
                                           "events {}\n"
                                           "http {\n"
                                           "  access_log off;\n"
                                           "  client_body_temp_path body;\n"
                                           "  proxy_temp_path proxy;\n"
                                           "  fastcgi_temp_path fastcgi;\n"
                                           "  uwsgi_temp_path uwsgi;\n"
                                           "  scgi_temp_path scgi;\n"
                                           "  server {\n"
                                           "    listen "
                                        << kAddress
                                        << ";\n"
                                           "    location / { return 200 'hello'; }\n"
                                           "  }\n"
                                           "}\n";
  return prefix;
}

std::vector<std::string> nginx(Machine& machine, uint32_t instance) {
  const std::string prefix = nginx_configuration(machine, instance);
  return {"/usr/sbin/nginx", "-p", prefix, "-c", prefix + "/nginx.conf", "-e", "stderr"};
}

std::vector<std::string> python(Machine& machine, uint32_t) {
  const std::filesystem::path empty = machine.file("empty");
  std::filesystem::create_directory(empty);
  return {"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "-d", empty, "8080"};
}

using MakeCommand = std::vector<std::string> (*)(Machine&, uint32_t instance);

// Up when all listen.
std::vector<Process> start_servers(Machine& machine, const DaemonProcess& daemon,
                                   MakeCommand make_command) {
  std::vector<Process> servers;
  for (uint32_t i = 0; i < kInstances; i++) {
    const std::string share = std::to_string(i).append("/4");
    servers.emplace_back(machine, Command{.argv = make_command(machine, i),
                                          .environment = daemon.environment(share)});
  }
  const bool up = eventually([&] {
    Document status = daemon.status();
    const GroupStatus* group = status.find(kGroup);
    return group && group->active() == kInstances;
  });
  for (const Process& server : servers) INFO(server.err());
  REQUIRE(up);
  return servers;
}

// Selections by instance.
std::vector<uint64_t> selections(const DaemonProcess& daemon) {
  std::vector<uint64_t> result(kInstances);
  Document status = daemon.status();
  for (const MemberStatus& member : status.group(kGroup).members)
    result[member.instance] += member.selected;
  return result;
}

// What wrk says of a second of load, and whom the kernel chose meanwhile.
struct Run {
  std::string output;
  uint64_t requests = 0;
  std::vector<uint64_t> connections;  // by instance
};

// No more clients at a time than fit into the queue of Python's server, which listens with a
// backlog of 5: beyond that the kernel drops handshakes, and the clients try again a second later.
Run load(Machine& machine, const DaemonProcess& daemon) {
  Run result;
  const auto before = selections(daemon);
  auto finished =
      run(machine, {.argv = {"/usr/bin/wrk", "-t1", "-c6", "-d1s", "--timeout", "30s", "-H",
                             "Connection: close", std::string("http://").append(kAddress) + "/"}});
  CHECK(finished.status == 0);
  result.output = finished.out;
  result.connections = selections(daemon);
  for (uint32_t i = 0; i < kInstances; i++) result.connections[i] -= before[i];
  std::smatch match;
  if (std::regex_search(result.output, match, std::regex("([0-9]+) requests in")))
    result.requests = std::stoull(match[1]);
  return result;
}

void check_served(const Run& run) {
  INFO(run.output);
  CHECK(run.requests > 100);
  CHECK(run.output.find("Non-2xx") == std::string::npos);
  CHECK(run.output.find("Socket errors") == std::string::npos);
}

uint64_t sum_of(const Run& run) {
  uint64_t sum = 0;
  for (uint64_t count : run.connections) sum += count;
  return sum;
}

// Each of the `expected` has an equal share, and nobody else any. The limit is five standard
// deviations of a share that is drawn at random.
void check_shares(const Run& run, const std::vector<uint32_t>& expected) {
  const auto whole = static_cast<double>(sum_of(run));
  const double share = 1.0 / static_cast<double>(expected.size());
  const double limit = 5 * std::sqrt(whole * share * (1 - share));
  std::vector<bool> served(kInstances);
  for (uint32_t i : expected) {
    CAPTURE(i);
    CHECK(std::abs(static_cast<double>(run.connections[i]) - whole * share) <= limit);
    served[i] = true;
  }
  for (uint32_t i = 0; i < kInstances; i++) {
    CAPTURE(i);
    if (!served[i]) CHECK(run.connections[i] == 0);
  }
}

Run load_in(Mode mode_now, Machine& machine, const DaemonProcess& daemon) {
  CAPTURE(name_of(mode_now));
  tell(daemon, kGroup, mode(mode_now));
  Run result = load(machine, daemon);
  check_served(result);
  return result;
}

void check_modes(MakeCommand make_command) {
  Machine machine;
  const auto cpus = two_cpus();
  OnCpus both(cpus);
  DaemonProcess daemon(machine);
  auto servers = start_servers(machine, daemon, make_command);

  check_shares(load_in(Mode::Hash, machine, daemon), {0, 1, 2, 3});
  // Members that share their CPUs are one node's: on a machine with more, the loopback's too.
  CHECK(sum_of(load_in(Mode::Numa, machine, daemon)) > 0);
  CHECK(sum_of(load_in(Mode::Least, machine, daemon)) > 0);
  {
    OnCpus first({cpus[0]});
    check_shares(load_in(Mode::Cpu, machine, daemon), {0, 2});
  }
  {
    OnCpus second({cpus[1]});
    check_shares(load_in(Mode::Cpu, machine, daemon), {1, 3});
  }
  // One client address: one member for it.
  const Run source = load_in(Mode::Source, machine, daemon);
  CHECK(std::ranges::count(source.connections, 0) == kInstances - 1);

  Document status = daemon.status();
  CHECK(status.group(kGroup).kernel == 0);
  CHECK(status.group(kGroup).refused == 0);
  CHECK(ask(daemon, kGroup, mode(Mode::Random)).error == EINVAL);
}

TEST_SUITE("system") {
  TEST_CASE("nginx, four times, in every mode") {
    check_modes(nginx);
  }

  TEST_CASE("python3 -m http.server, four times, in every mode") {
    check_modes(python);
  }
}

}  // namespace
}  // namespace subset::test
