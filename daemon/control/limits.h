// SPDX-License-Identifier: MIT
// What the control socket gives to whom. Anybody on the machine may connect to it.
#pragma once

#include <chrono>
#include <cstddef>

namespace subset::control {

struct UserLimits {
  size_t connections = 64;             // open at once
  double requests_per_second = 20000;  // on average; 0: as many as it likes
  double burst = 4000;                 // at once, after a pause

  bool operator==(const UserLimits&) const = default;
};

struct Limits {
  UserLimits user;
  UserLimits root{.connections = 1024, .requests_per_second = 0, .burst = 0};
  size_t connections = 4096;  // open at once, of all; root gets in beyond it

  // A connection on which nothing is asked, nor answered later, is closed after this time.
  std::chrono::nanoseconds idle = std::chrono::seconds(2);

  // In one round of the loop: so that no peer keeps the others from their turn.
  unsigned packets_per_round = 16;  // of one connection
  unsigned accepts_per_round = 32;
  int waiting = 32;  // connections that are not accepted yet: a flood goes before nobody else
  std::chrono::nanoseconds time_per_round = std::chrono::milliseconds(1);  // of one user but root

  // Descriptors or memory are short: no accept for this time.
  std::chrono::nanoseconds accept_pause = std::chrono::milliseconds(100);
};

}  // namespace subset::control
