// SPDX-License-Identifier: MIT
// Servers of one group, and what happens to them in a soak. A deed leaves its group whole: when it
// has come back all instances serve, and the next deed may be any.
#pragma once

#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"

namespace subset::test {

struct Deed {
  std::string name;
  std::function<void()> act;  // throws what went wrong
};

struct Stage {
  Machine& machine;
  const DaemonProcess& daemon;
};

class Fleet {
 public:
  Fleet(const Stage& stage, std::string group, uint32_t seed)
      : stage_(stage), group_(std::move(group)), random_(seed) {}
  virtual ~Fleet() = default;
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // All that can happen, each as often as it is to.
  virtual std::vector<Deed> deeds() = 0;
  // As many instances as it began with, and one at least that this daemon has seen join, for which
  // it loads programs: so that two measurements compare.
  virtual void go_home() = 0;
  // After another daemon has come.
  virtual void see_new_daemon() {}

  const std::string& group() const { return group_; }

 protected:
  Machine& machine() { return stage_.machine; }
  const DaemonProcess& daemon() const { return stage_.daemon; }
  GroupStatus status() const { return daemon().status().group(group_); }

  uint32_t any_below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  // Until all of `total` instances serve.
  void await_whole(uint32_t total) const;
  // Until the process has read all that it was given, and has no connection open.
  void await_idle(pid_t process) const;

 private:
  Stage stage_;
  std::string group_;
  std::mt19937 random_;
};

// Throws, with the name of what did not happen in time.
template <typename Condition>
void await(const std::string& what, Condition condition, Clock::duration limit = 30s) {
  if (!eventually(condition, limit)) throw std::runtime_error("in vain: " + what);
}

}  // namespace subset::test
