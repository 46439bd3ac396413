// SPDX-License-Identifier: MIT
#include "daemon/model/cpulist.h"

#include <charconv>

namespace subset {
namespace {

constexpr uint32_t kMaxCpus = 8192;

bool take_number(std::string_view& text, uint32_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

CpuSet parse_cpulist(std::string_view text) {
  CpuSet cpus;
  uint32_t first = 0;
  while (take_number(text, first)) {
    uint32_t last = first;
    if (take(text, '-') && !take_number(text, last)) break;
    for (uint32_t cpu = first; cpu <= last && cpu < kMaxCpus; cpu++) cpus.add(cpu);
    if (!take(text, ',')) break;
  }
  return cpus;
}

}  // namespace subset
