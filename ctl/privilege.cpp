// SPDX-License-Identifier: MIT
#include "ctl/privilege.h"

#include <linux/capability.h>

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace subset::ctl {

Result<uint64_t> effective_capabilities(const std::string& root) {
  constexpr std::string_view kField = "CapEff:";
  std::ifstream file(root + "/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kField)) continue;
    return std::strtoull(line.c_str() + kField.size(), nullptr, 16);
  }
  return fail(0, "no capabilities in " + root + "/proc/self/status: is /proc mounted?");
}

std::string missing_capabilities(uint64_t effective) {
  struct Needed {
    int number;
    const char* name;
  };
  std::string missing;
  for (const Needed& each : {Needed{CAP_BPF, "CAP_BPF"}, Needed{CAP_PERFMON, "CAP_PERFMON"},
                             Needed{CAP_NET_ADMIN, "CAP_NET_ADMIN"}})
    if ((effective >> each.number & 1) == 0)
      missing += std::string(missing.empty() ? "" : ", ") + each.name;
  return missing;
}

}  // namespace subset::ctl
