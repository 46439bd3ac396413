// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <vector>

#include "protocol/policy.h"
#include "tests/system/harness/process.h"
#include "tests/system/soak/fleet.h"

namespace subset::test {

// Servers under `subset run`, restarted by takeover and resized by a second run, with an operator
// who drains, weighs and changes the mode.
class Managed final : public Fleet {
 public:
  struct Kind {
    std::string group;
    std::vector<std::string> server;
    std::vector<Mode> modes;
  };
  Managed(const Stage& stage, Kind kind, uint32_t seed);

  std::vector<Deed> deeds() override;
  void go_home() override;

 private:
  void restart_all();
  void resize(uint32_t total);
  void drain_one();
  void weigh_one();
  void change_mode();
  Process start(uint32_t total);

  Kind kind_;
  uint32_t total_;
  std::optional<Process> run_;
};

}  // namespace subset::test
