// SPDX-License-Identifier: MIT
#include "ctl/shim_path.h"

#include <unistd.h>

#include <climits>

#include "config.h"

namespace subset::ctl {
namespace {

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

bool readable(const std::string& path) {
  return access(path.c_str(), R_OK) == 0;
}

}  // namespace

Result<std::string> choose_shim(const std::string& executable, const std::string& installed,
                                bool (*exists)(const std::string& path)) {
  // Not "..": the path is shown to people and put into every instance's environment.
  std::string built = parent_of(parent_of(executable)) + "/shim/libsubset.so";
  const std::string& found = exists(built) ? built : installed;
  if (!exists(found))
    return fail(0, "libsubset.so is neither at " + built + " nor at " + installed +
                       ": build it, or install subset again");
  if (found.find_first_of(": ") != std::string::npos)
    return fail(0, "LD_PRELOAD cannot carry '" + found +
                       "', which has a colon or a space: move it elsewhere");
  return found;
}

Result<std::string> find_shim() {
  char executable[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", executable, sizeof executable);
  if (length < 0) return fail_errno("read /proc/self/exe: is /proc mounted?");
  return choose_shim(std::string(executable, static_cast<size_t>(length)), SUBSET_SHIM_PATH,
                     readable);
}

}  // namespace subset::ctl
