// SPDX-License-Identifier: MIT
#include "daemon/observe/figures.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <vector>

namespace subset::observe {
namespace {

// Fields of /proc/self/stat behind the command, which may hold blanks and brackets; see proc(5),
// where the first of them is number 3.
constexpr size_t kUserTime = 14 - 3;
constexpr size_t kSystemTime = 15 - 3;
constexpr size_t kStartTime = 22 - 3;
constexpr size_t kVirtualBytes = 23 - 3;
constexpr size_t kResidentPages = 24 - 3;

Result<std::vector<std::string>> stat_fields() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t end = text.rfind(')');
  if (end == std::string::npos) return fail(EIO, "read /proc/self/stat");
  std::istringstream rest(text.substr(end + 1));
  std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
  if (fields.size() <= kResidentPages) return fail(EIO, "read /proc/self/stat: it is short");
  return fields;
}

double seconds_of(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// The start is counted from the boot of the machine.
double boot_time() {
  timespec now{};
  timespec since_boot{};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  return seconds_of(now) - seconds_of(since_boot);
}

// From Linux 6.2 on the directory's size says it; going through it takes a daemon of many groups as
// long as all the rest of a look.
uint64_t open_descriptors() {
  struct stat directory_file {};
  if (stat("/proc/self/fd", &directory_file) == 0 && directory_file.st_size > 0)
    return static_cast<uint64_t>(directory_file.st_size);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (!directory) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(directory.get())) count += entry->d_name[0] != '.';
  return count > 0 ? count - 1 : 0;  // that of the directory itself
}

uint64_t most_descriptors() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace

Result<ProcessFigures> read_process_figures() {
  auto fields = stat_fields();
  if (!fields) return tl::unexpected(fields.error());
  const auto number = [&](size_t field) {
    return std::strtoull((*fields)[field].c_str(), nullptr, 10);
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  static const double boot = boot_time();  // once: the start of a process does not move
  ProcessFigures figures;
  figures.cpu_seconds = static_cast<double>(number(kUserTime) + number(kSystemTime)) / ticks;
  figures.start_time_seconds = boot + static_cast<double>(number(kStartTime)) / ticks;
  figures.virtual_bytes = number(kVirtualBytes);
  figures.resident_bytes = number(kResidentPages) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  figures.open_fds = open_descriptors();
  figures.max_fds = most_descriptors();
  return figures;
}

void DurationHistogram::add(double seconds) {
  for (size_t i = 0; i < kBounds.size(); i++) at_most[i] += seconds <= kBounds[i];
  count++;
  sum += seconds;
}

}  // namespace subset::observe
