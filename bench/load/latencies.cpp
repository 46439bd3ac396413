// SPDX-License-Identifier: MIT
#include "bench/load/latencies.h"

#include <algorithm>

namespace subset::bench {

nlohmann::json Latencies::summary() {
  if (nanoseconds_.empty()) return nlohmann::json::object();
  std::sort(nanoseconds_.begin(), nanoseconds_.end());
  const auto at = [&](double share) {
    const auto index = static_cast<size_t>(share * static_cast<double>(nanoseconds_.size()));
    return nanoseconds_[std::min(index, nanoseconds_.size() - 1)] / 1000.0;
  };
  return {{"p50_us", at(0.5)}, {"p99_us", at(0.99)}, {"max_us", nanoseconds_.back() / 1000.0}};
}

}  // namespace subset::bench
