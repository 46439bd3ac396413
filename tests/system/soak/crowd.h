// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "tests/system/harness/process.h"
#include "tests/system/soak/fleet.h"

namespace subset::test {

// Name servers whose number is the total (`SUBSET=auto`): they join and leave.
class Crowd final : public Fleet {
 public:
  Crowd(const Stage& stage, uint16_t port, uint32_t seed);

  std::vector<Deed> deeds() override;
  void go_home() override;

 private:
  void join();
  void leave();

  std::vector<std::string> command_;
  std::vector<Process> servers_;
};

}  // namespace subset::test
