// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <set>
#include <thread>

#include "tests/system/harness/clock.h"

namespace subset::test {

// Stops all instances of a `subset run` for a moment as soon as another one is started, so that a
// takeover finds something in their queues. Each is a process group of its own.
class Hobble {
 public:
  static constexpr auto kStop = 20ms;

  explicit Hobble(pid_t run);
  ~Hobble();
  Hobble(const Hobble&) = delete;
  Hobble& operator=(const Hobble&) = delete;

  // How many times so far.
  uint32_t stops() const { return stops_; }

 private:
  void work();
  void stop_the_known();

  pid_t run_;
  std::set<pid_t> known_;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint32_t> stops_ = 0;
  std::thread thread_;
};

}  // namespace subset::test
