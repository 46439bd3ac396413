// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "daemon/model/types.h"

namespace subset {

// Reads the kernel's notation, "0-1,4"; what is no number ends it. CPUs from 8192 on are left out.
CpuSet parse_cpulist(std::string_view text);

}  // namespace subset
