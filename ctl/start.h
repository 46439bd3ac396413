// SPDX-License-Identifier: MIT
// What `run` and `exec` do before they start a server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/run_plan.h"
#include "daemon/base/result.h"

namespace subset::ctl {

Environment own_environment();

// The shim is found.
Result<Launch> prepare_launch(std::vector<std::string> command, Steering steering);

// Says on standard error what may go wrong; refuses what LD_PRELOAD cannot reach, unless `force`.
Result<void> check_reach(const std::string& program, const Environment& environment, bool force);

// execvp with the plan's environment: comes back only to say why not.
Error become(const Start& start);

// A line for people: "subset: ...".
void tell(const std::string& line);

// Not 0, which means none.
Result<uint64_t> random_lineage();

}  // namespace subset::ctl
