// SPDX-License-Identifier: MIT
#include "tests/system/harness/workers.h"

#include <sys/socket.h>

#include <cstdlib>
#include <fstream>

#include <doctest/doctest.h>

#include "tests/system/servers/address.h"

namespace subset::test {

Environment spread(const DaemonProcess& daemon, const char* how) {
  Environment environment = daemon.environment("0/1");
  environment["SUBSET_SPREAD"] = how;
  return environment;
}

Environment fork_spread(const DaemonProcess& daemon) {
  return spread(daemon, "fork");
}

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

std::string read_answer(const Fd& fd) {
  if (!fd) return "";
  std::string answer;
  char part[1024];
  ssize_t size = 0;
  while ((size = recv(fd.get(), part, sizeof part, 0)) > 0)
    answer.append(part, static_cast<size_t>(size));
  return size == 0 ? answer : "";
}

int process_in(const std::string& answer) {
  auto body = answer.find("\r\n\r\n");
  if (answer.find(" 200 OK") == std::string::npos || body == std::string::npos) return 0;
  return std::atoi(answer.c_str() + body);
}

int ask_http() {
  return process_in(read_answer(send_request(kGet)));
}

void write_pid_app(Machine& machine) {
  std::ofstream(machine.file("pid_app.py"))
      << "import os\n"
         "def app(environ, start):\n"
         "    start('200 OK', [('Content-Type', 'text/plain')])\n"
         "    return [str(os.getpid()).encode()]\n";
}

void check_each_answers(const std::map<int, size_t>& answers, const std::set<int>& workers) {
  CHECK(answers.count(0) == 0);
  for (const auto& [pid, count] : answers) CHECK(workers.count(pid) == 1);
  CHECK(answers.size() == workers.size());
}

std::set<int> active_pids(const DaemonProcess& daemon, const std::string& id) {
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

}  // namespace subset::test
