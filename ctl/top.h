// SPDX-License-Identifier: MIT
// `subset top`: looks at the daemon again and again, on the whole terminal or as lines of JSON.
#pragma once

#include <string>

#include "ctl/command_line.h"
#include "daemon/base/result.h"

namespace subset::ctl {

Result<void> top(const TopCommand& command, const std::string& socket_path, bool colour);

}  // namespace subset::ctl
