// SPDX-License-Identifier: MIT
// Time limits. A test waits for a condition, never for a time; the limits are far beyond what a
// busy machine needs and only end a test that has failed already.
#pragma once

#include <chrono>
#include <thread>

namespace subset::test {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

inline constexpr auto kPatience = 10s;

// Asks again and again until `condition` holds or the limit is over; gives back its last word.
template <typename Condition>
bool eventually(Condition condition, Clock::duration limit = kPatience) {
  auto deadline = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

}  // namespace subset::test
