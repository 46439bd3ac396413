// SPDX-License-Identifier: MIT
#include "daemon/kernel/process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <string_view>

namespace subset::kernel {

Result<Fd> open_pidfd(pid_t pid) {
  Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno("watch process " + std::to_string(pid));
  return fd;
}

// A process chooses its own name: what a terminal or a log would act upon is taken out.
std::string command_of(pid_t pid) {
  const Fd file(open(("/proc/" + std::to_string(pid) + "/comm").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 64> text{};  // the name of a kernel thread may be so long
  const ssize_t length = file ? read(file.get(), text.data(), text.size()) : 0;
  std::string name(text.data(), static_cast<size_t>(std::max<ssize_t>(length, 0)));
  name.resize(std::min(name.find('\n'), name.size()));
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return name;
}

uint32_t seccomp_filters_of(pid_t pid) {
  const Fd file(open(("/proc/" + std::to_string(pid) + "/status").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> text{};  // the line is behind about one kilobyte of others
  const ssize_t length = file ? read(file.get(), text.data(), text.size()) : 0;
  const std::string_view status(text.data(), static_cast<size_t>(std::max<ssize_t>(length, 0)));
  constexpr std::string_view kName = "\nSeccomp_filters:\t";
  const size_t found = status.find(kName);
  uint32_t filters = 0;
  if (found != std::string_view::npos)
    std::from_chars(status.data() + found + kName.size(), status.data() + status.size(), filters);
  return filters;
}

// The system call itself tells how much of the mask there is.
CpuSet affinity_of(pid_t pid) {
  CpuSet cpus;
  std::array<uint64_t, 128> mask{};
  const long bytes = syscall(SYS_sched_getaffinity, pid, sizeof mask, mask.data());
  for (size_t word = 0; word * sizeof mask[0] < static_cast<size_t>(std::max(bytes, 0L)); word++) {
    for (uint64_t left = mask[word]; left != 0; left &= left - 1)
      cpus.add(static_cast<uint32_t>(word * 64 + std::countr_zero(left)));
  }
  return cpus;
}

}  // namespace subset::kernel
