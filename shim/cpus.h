// SPDX-License-Identifier: MIT
// SUBSET_PIN: which CPUs an instance takes. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace subset::shim {

// As many CPUs as a kernel can be built for: sched_getaffinity refuses a mask that is too small.
inline constexpr size_t kMaxCpus = 8192;

struct CpuMask {
  static constexpr size_t kWordBits = 8 * sizeof(unsigned long);
  unsigned long words[kMaxCpus / kWordBits] = {};

  bool test(size_t cpu) const { return words[cpu / kWordBits] >> (cpu % kWordBits) & 1; }
  void set(size_t cpu) { words[cpu / kWordBits] |= 1ul << (cpu % kWordBits); }
};

// Of the allowed CPUs, in their order, instance i of n takes the j-th where j mod n is i; with more
// instances than CPUs, the (i mod count)-th. Empty where nothing is allowed.
CpuMask cpus_of_instance(const CpuMask& allowed, uint32_t instance, uint32_t total);

}  // namespace subset::shim
