// SPDX-License-Identifier: MIT
#include "shim/cpus.h"

#include <initializer_list>
#include <set>

#include <doctest/doctest.h>

using namespace subset::shim;

namespace {

CpuMask mask_of(std::initializer_list<size_t> cpus) {
  CpuMask mask;
  for (const size_t cpu : cpus) mask.set(cpu);
  return mask;
}

std::set<size_t> chosen(const CpuMask& allowed, uint32_t instance, uint32_t total) {
  std::set<size_t> cpus;
  const CpuMask mask = cpus_of_instance(allowed, instance, total);
  for (size_t cpu = 0; cpu < kMaxCpus; ++cpu)
    if (mask.test(cpu)) cpus.insert(cpu);
  return cpus;
}

using Cpus = std::set<size_t>;

}  // namespace

TEST_CASE("instances divide the allowed CPUs in their order") {
  const CpuMask allowed = mask_of({1, 3, 64, 65, 200});
  CHECK(chosen(allowed, 0, 2) == Cpus{1, 64, 200});
  CHECK(chosen(allowed, 1, 2) == Cpus{3, 65});
  CHECK(chosen(allowed, 4, 5) == Cpus{200});
  CHECK(chosen(allowed, 0, 1) == Cpus{1, 3, 64, 65, 200});
}

TEST_CASE("more instances than CPUs share them in turn") {
  const CpuMask allowed = mask_of({2, 5, 8191});
  CHECK(chosen(allowed, 2, 8) == Cpus{8191});
  CHECK(chosen(allowed, 3, 8) == Cpus{2});
  CHECK(chosen(allowed, 7, 8) == Cpus{5});
}

TEST_CASE("every CPU has exactly one instance where there are enough of them") {
  CpuMask allowed;
  for (size_t cpu = 0; cpu < 100; ++cpu) allowed.set(cpu * 3);
  for (uint32_t total = 1; total <= 100; ++total) {
    size_t sum = 0;
    Cpus all;
    for (uint32_t instance = 0; instance < total; ++instance) {
      const Cpus own = chosen(allowed, instance, total);
      CHECK_FALSE(own.empty());
      sum += own.size();
      all.insert(own.begin(), own.end());
    }
    CHECK(sum == 100);
    CHECK(all.size() == 100);
  }
}

TEST_CASE("nothing allowed, nothing chosen") {
  CHECK(chosen(CpuMask{}, 0, 4).empty());
  CHECK(chosen(mask_of({1}), 0, 0).empty());
}
