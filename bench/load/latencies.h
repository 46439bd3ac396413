// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

namespace subset::bench {

// Every latency of a run, in nanoseconds: a run is some seconds of at most a few 100,000 answers,
// so percentiles are exact and cost nothing but a sort at the end.
class Latencies {
 public:
  void reserve(size_t count) { nanoseconds_.reserve(count); }
  void add(uint64_t nanoseconds) {
    nanoseconds_.push_back(
        static_cast<uint32_t>(nanoseconds < UINT32_MAX ? nanoseconds : UINT32_MAX));
  }
  void merge(const Latencies& other) {
    nanoseconds_.insert(nanoseconds_.end(), other.nanoseconds_.begin(), other.nanoseconds_.end());
  }
  size_t count() const { return nanoseconds_.size(); }

  // {"p50_us": …, "p99_us": …, "max_us": …}; empty if there is none.
  nlohmann::json summary();

 private:
  std::vector<uint32_t> nanoseconds_;
};

}  // namespace subset::bench
