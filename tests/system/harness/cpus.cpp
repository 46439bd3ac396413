// SPDX-License-Identifier: MIT
#include "tests/system/harness/cpus.h"

#include <stdexcept>

#include "tests/system/harness/fail.h"

namespace subset::test {

std::vector<uint32_t> affinity(pid_t process) {
  cpu_set_t mask;
  checked(sched_getaffinity(process, sizeof mask, &mask), "sched_getaffinity");
  std::vector<uint32_t> cpus;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

void allow_cpus(pid_t process, const std::vector<uint32_t>& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (uint32_t cpu : cpus) CPU_SET(cpu, &mask);
  checked(sched_setaffinity(process, sizeof mask, &mask), "sched_setaffinity");
}

OnCpus::OnCpus(const std::vector<uint32_t>& cpus) : before_(affinity(0)) {
  allow_cpus(0, cpus);
}

// Back to where the thread has been: nothing that could fail in between.
OnCpus::~OnCpus() {
  try {
    allow_cpus(0, before_);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the next test case will tell
  }
}

std::vector<uint32_t> two_cpus() {
  std::vector<uint32_t> cpus = affinity(0);
  if (cpus.size() < 2) throw std::runtime_error("a test of locality needs two CPUs");
  cpus.resize(2);
  return cpus;
}

}  // namespace subset::test
