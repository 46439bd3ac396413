// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>

#include <cstdint>
#include <vector>

namespace subset::test {

// The CPUs that a process, or the calling thread (0), may use.
std::vector<uint32_t> affinity(pid_t process);

// Lets a process, or the calling thread (0), use these CPUs alone.
void allow_cpus(pid_t process, const std::vector<uint32_t>& cpus);

// Restricts the calling thread, and what it starts meanwhile, until the end of the scope. What a
// restricted thread sends over the loopback is received on its own CPU.
class OnCpus {
 public:
  explicit OnCpus(const std::vector<uint32_t>& cpus);
  ~OnCpus();
  OnCpus(const OnCpus&) = delete;
  OnCpus& operator=(const OnCpus&) = delete;

 private:
  std::vector<uint32_t> before_;
};

// Two CPUs to test locality with; throws on a machine that has but one.
std::vector<uint32_t> two_cpus();

}  // namespace subset::test
