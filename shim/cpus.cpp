// SPDX-License-Identifier: MIT
#include "shim/cpus.h"

namespace subset::shim {
namespace {

uint32_t count_of(const CpuMask& mask) {
  uint32_t count = 0;
  for (const unsigned long word : mask.words)
    count += static_cast<uint32_t>(__builtin_popcountl(word));
  return count;
}

}  // namespace

CpuMask cpus_of_instance(const CpuMask& allowed, uint32_t instance, uint32_t total) {
  CpuMask chosen;
  const uint32_t count = count_of(allowed);
  if (count == 0 || total == 0) return chosen;
  const uint32_t divisor = total < count ? total : count;
  uint32_t order = 0;
  for (size_t cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (!allowed.test(cpu)) continue;
    if (order++ % divisor == instance % divisor) chosen.set(cpu);
  }
  return chosen;
}

}  // namespace subset::shim
