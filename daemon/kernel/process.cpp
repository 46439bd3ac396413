// SPDX-License-Identifier: MIT
#include "daemon/kernel/process.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>

namespace subset::kernel {

Result<Fd> open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno("watch process " + std::to_string(pid));
  return fd;
}

// A process chooses its own name: what a terminal or a log would act upon is taken out.
std::string command_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return name;
}

CpuSet affinity_of(pid_t pid) {
  CpuSet cpus;
  constexpr int kCpus = 8192;
  cpu_set_t* mask = CPU_ALLOC(kCpus);
  if (!mask) return cpus;
  const size_t size = CPU_ALLOC_SIZE(kCpus);
  CPU_ZERO_S(size, mask);
  if (sched_getaffinity(pid, size, mask) == 0) {
    for (int cpu = 0; cpu < kCpus; cpu++) {
      if (CPU_ISSET_S(static_cast<size_t>(cpu), size, mask)) cpus.add(static_cast<uint32_t>(cpu));
    }
  }
  CPU_FREE(mask);
  return cpus;
}

}  // namespace subset::kernel
