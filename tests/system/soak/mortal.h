// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "tests/system/harness/process.h"
#include "tests/system/soak/fleet.h"

namespace subset::test {

// Servers that are killed, whose sockets are held for their successors (vacancy `hold`).
class Mortal final : public Fleet {
 public:
  struct Kind {
    std::string group;
    std::vector<std::string> server;
    long waits_in = -1;  // the system call in which it has done all that it was asked
  };
  Mortal(const Stage& stage, Kind kind, uint32_t seed);

  std::vector<Deed> deeds() override;
  void go_home() override {}
  // It has no duplicate of what registered with the one before.
  void see_new_daemon() override;

 private:
  void kill_one();
  void replace(uint32_t instance);
  Process start(uint32_t instance);
  void await_holder(uint32_t instance, const Process& server) const;

  Kind kind_;
  uint32_t started_ = 0;
  std::vector<Process> servers_;
};

}  // namespace subset::test
