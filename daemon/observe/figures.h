// SPDX-License-Identifier: MIT
// What the daemon says about itself.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "daemon/base/result.h"

namespace subset::observe {

// As /proc describes a process, in the units of Prometheus' process_* metrics.
struct ProcessFigures {
  double cpu_seconds = 0;
  double start_time_seconds = 0;  // since 1970
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;
};

// Of the calling process. Errors: /proc is not there, or not as it should be.
Result<ProcessFigures> read_process_figures();

// A cumulative histogram over fixed bounds.
struct DurationHistogram {
  static constexpr std::array<double, 12> kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                                     0.01,   0.025,   0.05,   0.1,   0.25,   1};
  std::array<uint64_t, kBounds.size()> at_most{};  // by bound: how many took so long at most
  uint64_t count = 0;
  double sum = 0;  // seconds

  void add(double seconds);
};

struct Figures {
  std::string version;
  ProcessFigures process;
  std::map<std::string, uint64_t> registrations;  // by result
  DurationHistogram registration_seconds;
  std::map<std::string, uint64_t> control;      // of the control socket, by name
  std::map<unsigned, uint64_t> http_responses;  // by status
  uint64_t http_connections = 0;
  uint64_t http_cut = 0;
  double sample_seconds = 0;  // what it took to make this snapshot
};

}  // namespace subset::observe
