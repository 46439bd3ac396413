// SPDX-License-Identifier: MIT
// Time limits. A test waits for a condition, never for a time; the limits are far beyond what a
// busy machine needs and only end a test that has failed already.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace subset::test {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

inline constexpr auto kPatience = 10s;

// SUBSET_TEST_PATIENCE: how many times as long to wait on a machine that is that much slower, such
// as one whose processor is a program.
inline int slowness() {
  static const char* const text = std::getenv("SUBSET_TEST_PATIENCE");
  static const int times = text ? std::max(1, std::atoi(text)) : 1;
  return times;
}

// Asks again and again until `condition` holds or the limit is over; gives back its last word.
template <typename Condition>
bool eventually(Condition condition, Clock::duration limit = kPatience) {
  auto deadline = Clock::now() + limit * slowness();
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

}  // namespace subset::test
