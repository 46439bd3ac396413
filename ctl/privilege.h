// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace subset::ctl {

// CapEff of /proc/self/status below `root`.
Result<uint64_t> effective_capabilities(const std::string& root = "");

// Of the three that a daemon needs, those that are not in the set, with ", " between them.
std::string missing_capabilities(uint64_t effective);

}  // namespace subset::ctl
