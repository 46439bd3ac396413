// SPDX-License-Identifier: MIT
// A server of four workers at one address, each of which says who it is: how tests start it, ask
// it, and see who its members are.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "daemon/base/fd.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"

namespace subset::test {

inline constexpr char kAddress[] = "127.0.0.1:8080";
inline constexpr char kGroup[] = "tcp/127.0.0.1:8080";
inline constexpr size_t kWorkers = 4;

// SUBSET_SPREAD for the one instance of this daemon's group.
Environment spread(const DaemonProcess& daemon, const char* how);
Environment fork_spread(const DaemonProcess& daemon);

// A connection over which `request` has been sent; empty if anything goes wrong.
Fd send_request(const std::string& request);
// All that comes until the other side closes. Empty if anything goes wrong.
std::string read_answer(const Fd& fd);

inline constexpr char kGet[] = "GET / HTTP/1.0\r\n\r\n";
// The process that answered a page which is its number; 0 for any other answer.
int process_in(const std::string& answer);
int ask_http();
// For gunicorn: a page that is the number of the worker, "pid_app:app".
void write_pid_app(Machine& machine);

// Who answered how often; 0: nobody did.
template <typename Ask>
std::map<int, size_t> ask_often(Ask ask_one, size_t count) {
  std::map<int, size_t> answers;
  for (size_t i = 0; i < count; i++) answers[ask_one()]++;
  return answers;
}
// Each question was answered, and each worker answered some.
void check_each_answers(const std::map<int, size_t>& answers, const std::set<int>& workers);

std::set<int> active_pids(const DaemonProcess& daemon, const std::string& id = kGroup);
// Waits for so many active members.
bool has_members(const DaemonProcess& daemon, size_t count);

}  // namespace subset::test
