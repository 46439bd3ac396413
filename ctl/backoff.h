// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace subset::ctl {

// How long to wait before starting again what ended: twice as long each time, up to a bound; from
// the beginning after a run that lasted.
class Backoff {
 public:
  using Duration = std::chrono::milliseconds;
  static constexpr Duration kFirst{100};
  static constexpr Duration kLongest{10000};

  Duration next(std::chrono::nanoseconds ran) {
    if (ran >= kLongest) delay_ = kFirst;
    return std::exchange(delay_, std::min(delay_ * 2, kLongest));
  }

 private:
  Duration delay_ = kFirst;
};

}  // namespace subset::ctl
