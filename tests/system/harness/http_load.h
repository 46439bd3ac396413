// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"
#include "tests/system/servers/address.h"

namespace subset::test {

// Connections to an HTTP server at a steady rate, each with one request, on a thread of its own.
// So few are open at a time that no listener's queue overflows.
class HttpLoad {
 public:
  struct Settings {
    std::string server;     // "127.0.0.1:80"
    uint32_t rate = 1'000;  // connections a second
    uint32_t at_once = 256;
    Clock::duration patience = 10s;
  };
  struct Outcome {
    uint64_t made = 0;
    uint64_t answered = 0;
    uint64_t resets = 0;
    uint64_t refused = 0;
    uint64_t timeouts = 0;
    uint64_t other = 0;  // closed without an answer, or with another than 200
    double rate = 0;     // connections a second
    std::chrono::milliseconds slowest{0};
  };

  explicit HttpLoad(const Settings& settings);
  ~HttpLoad();

  // Connections that were not answered as they should be, so far.
  uint64_t lost() const { return lost_; }
  // Connects no more, and waits for what is on the way.
  Outcome stop();

 private:
  struct Visit {
    Fd socket;
    bool asked = false;
    bool good = false;
    Clock::time_point begun;
  };

  void work();
  void begin();
  void go_on(Visit& visit);
  void end(Visit& visit, int error);
  void wait_for_events(Clock::duration limit);
  void give_up(Clock::time_point now);

  Settings settings_;
  Address server_;
  Fd poller_;
  std::vector<Visit> visits_;
  uint32_t open_ = 0;
  Outcome outcome_;
  Clock::time_point begun_, ended_;
  std::atomic<uint64_t> lost_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace subset::test
