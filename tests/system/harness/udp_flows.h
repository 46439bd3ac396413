// SPDX-License-Identifier: MIT
// The clients' side: flows of numbered datagrams, and what became of each of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"

namespace subset::test {

using Time = Clock::time_point;

// One datagram.
struct Journey {
  Time sent;
  Time answered{};
  uint32_t server = 0;
  bool lost() const { return answered == Time{}; }
};

// Which datagram it was.
struct Number {
  uint32_t flow = 0;
  uint32_t sequence = 0;
  bool operator==(const Number&) const = default;
};

// A flow is a connected socket: a 4-tuple of its own.
class UdpFlows {
 public:
  static constexpr uint32_t kNobody = 0xffffffff;

  // `from` is the clients' address, or the kernel's choice: "127.0.0.9:0".
  UdpFlows(const std::string& server, uint32_t count, const std::string& from = "");

  // Sends and receives until `each` datagrams of every flow are answered, or nothing has come for
  // as long as `patience`. At most `window` of a flow are on the way at any time, so that no queue
  // overflows. True if all were answered.
  bool exchange(uint32_t each, uint32_t window = 4, Clock::duration patience = 5s);

  // One datagram of each flow, regardless of answers.
  void send_round();
  // Takes in what has come; waits for it until then.
  void receive_until(Time deadline);
  // Takes in what comes until nothing came for this long or all are answered.
  void drain(Clock::duration quiet = 500ms);

  uint32_t count() const { return static_cast<uint32_t>(flows_.size()); }
  uint64_t sent() const { return sent_; }
  uint64_t answered() const { return answered_; }
  // What never should happen: answers that came twice or for another flow, ICMP errors.
  uint64_t oddities() const { return oddities_; }

  const std::vector<Journey>& journeys(uint32_t flow) const { return flows_[flow].journeys; }
  // Datagrams sent from `from` on that nobody answered.
  std::vector<Number> lost(Time from = {}) const;
  // Who answered what was sent in [from, to).
  std::set<uint32_t> servers(uint32_t flow, Time from = {}, Time to = Time::max()) const;
  // For each flow who answered its last answered datagram; kNobody if none was.
  std::vector<uint32_t> owners() const;

 private:
  struct Flow {
    Fd socket;
    std::vector<Journey> journeys;
    uint32_t answered = 0;
  };

  void send(uint32_t flow);
  bool receive_one(uint32_t flow);
  // True if something came.
  bool receive_ready(Clock::duration limit);

  std::vector<Flow> flows_;
  Fd poller_;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  uint64_t oddities_ = 0;
};

// Keeps sending rounds in the background, one every `period`, until it is stopped: a load that goes
// on while servers and daemons die. The flows are its own until then. A machine that is slower (see
// slowness) gets longer periods: its servers have to keep up, or receive buffers overflow.
class PacedLoad {
 public:
  explicit PacedLoad(UdpFlows& flows, Clock::duration period = 5ms);
  ~PacedLoad();

  // Stops sending and takes in what is on the way.
  void stop();
  // Lets so many rounds go by.
  void wait_rounds(uint64_t rounds) const;

 private:
  void work(Clock::duration period);
  void join();

  UdpFlows& flows_;
  std::atomic<uint64_t> rounds_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace subset::test
