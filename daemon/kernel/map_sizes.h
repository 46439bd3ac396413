// SPDX-License-Identifier: MIT
// Bytes of a value in each map of bpf/steer.bpf.c whose size follows that of its group.
#pragma once

#include <cstdint>

#include "bpf/layout.h"

namespace subset::kernel {

// A row of the table with room for so many buckets; the kernel counts values in words.
constexpr uint32_t row_bytes(uint32_t buckets) {
  return static_cast<uint32_t>(sizeof(subset_row)) + (buckets * 2 + 7) / 8 * 8;
}

// What one CPU counts for so many slots.
constexpr uint32_t counts_bytes(uint32_t slots) {
  return static_cast<uint32_t>(sizeof(subset_cpu_count) + slots * sizeof(subset_slot_count));
}

// So many members, and behind them those that stand there once more.
constexpr uint32_t candidates_bytes(uint32_t slots) {
  return static_cast<uint32_t>(sizeof(subset_candidates) +
                               (slots + SUBSET_TRIES) * sizeof(subset_candidate));
}

}  // namespace subset::kernel
