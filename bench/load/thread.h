// SPDX-License-Identifier: MIT
// What generators do with threads and time.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace subset::bench {

// CLOCK_MONOTONIC, in nanoseconds.
uint64_t now_ns();

// CPU time of the calling thread, in nanoseconds.
uint64_t thread_cpu_ns();

// Keeps the calling thread on one CPU.
Result<void> pin_to(int cpu);

// As many descriptors as the hard limit allows.
void allow_descriptors();

}  // namespace subset::bench
