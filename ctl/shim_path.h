// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "daemon/base/result.h"

namespace subset::ctl {

// libsubset.so: beside this executable in a build tree, else where it was installed. The path is
// one that LD_PRELOAD can carry.
Result<std::string> find_shim();

// The pure part: of two candidates, given what exists.
Result<std::string> choose_shim(const std::string& executable, const std::string& installed,
                                bool (*exists)(const std::string& path));

}  // namespace subset::ctl
