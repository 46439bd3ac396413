// SPDX-License-Identifier: MIT
#include "tests/system/harness/hobble.h"

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>

#include "tests/system/harness/machine.h"

namespace subset::test {
namespace {

std::set<pid_t> children_of(pid_t pid) {
  std::istringstream list(
      read_file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
  std::set<pid_t> children;
  for (pid_t child = 0; list >> child;) children.insert(child);
  return children;
}

}  // namespace

Hobble::Hobble(pid_t run) : run_(run), known_(children_of(run)), thread_([this] { work(); }) {}

Hobble::~Hobble() {
  stopping_ = true;
  thread_.join();
}

void Hobble::work() {
  for (; !stopping_; std::this_thread::sleep_for(1ms)) {
    std::set<pid_t> now = children_of(run_);
    const bool newcomer =
        std::ranges::any_of(now, [&](pid_t pid) { return !known_.contains(pid); });
    if (newcomer) stop_the_known();
    known_ = std::move(now);
  }
}

void Hobble::stop_the_known() {
  for (const pid_t pid : known_) kill(-pid, SIGSTOP);
  std::this_thread::sleep_for(kStop);
  for (const pid_t pid : known_) kill(-pid, SIGCONT);
  stops_++;
}

}  // namespace subset::test
