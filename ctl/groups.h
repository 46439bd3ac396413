// SPDX-License-Identifier: MIT
// The commands that show and change groups.
#pragma once

#include <string>

#include "ctl/command_line.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// What to print on standard output.
Result<std::string> show_status(const StatusCommand& command, const std::string& socket_path,
                                bool colour);

// What the daemon says beside success, often nothing.
Result<std::string> change_group(const ChangeCommand& command, const std::string& socket_path);

// The message for a group of this id. Pure.
protocol::Change change_message(const ChangeCommand& command, const std::string& id);

}  // namespace subset::ctl
