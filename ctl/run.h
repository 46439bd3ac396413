// SPDX-License-Identifier: MIT
#pragma once

#include "ctl/command_line.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// `subset run`: the exit status, when all instances have ended.
Result<int> run(const RunCommand& command);

}  // namespace subset::ctl
