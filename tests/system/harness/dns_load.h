// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"

namespace subset::test {

// Questions to a DNS server, from many flows, at a steady rate, on a thread of its own. A flow has
// one question on the way at most: so no queue overflows, however long a server is stopped, as long
// as there are fewer flows than its queue has room for, and what is unanswered was lost by somebody
// else. A rate that the servers do not keep up with is not reached.
class DnsLoad {
 public:
  struct Settings {
    std::string server;  // "127.0.0.1:53"
    uint32_t flows = 512;
    uint32_t rate = 20'000;  // questions a second
    // A question is lost when nothing came for so long; its flow then asks the next one.
    Clock::duration patience = 10s;
  };
  struct Outcome {
    uint64_t sent = 0;
    uint64_t answered = 0;
    uint64_t oddities = 0;  // answers that came twice or are none; ICMP errors
    double rate = 0;        // questions a second
    std::chrono::milliseconds slowest{0};
    uint64_t lost() const { return sent - answered; }
  };

  explicit DnsLoad(const Settings& settings);
  ~DnsLoad();

  // Questions that were given up so far.
  uint64_t lost() const { return lost_; }
  // Asks no more, and waits for what is on the way.
  Outcome stop();

 private:
  struct Flow {
    Fd socket;
    uint16_t question = 0;
    bool waits = false;
    Clock::time_point asked;
  };

  void work();
  void ask(Flow& flow);
  void listen_to(Flow& flow);
  void receive_for(Clock::duration limit);
  void give_up(Clock::time_point now);
  Flow* idle_flow();

  Settings settings_;
  Fd poller_;
  std::vector<Flow> flows_;
  size_t next_ = 0;     // the flow that asks next, if it is idle
  size_t waiting_ = 0;  // flows with a question on the way
  Outcome outcome_;
  Clock::time_point begun_, ended_;
  std::atomic<uint64_t> lost_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace subset::test
