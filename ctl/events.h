// SPDX-License-Identifier: MIT
// `subset events`: what happens to groups, a line each, until Ctrl-C.
#pragma once

#include <string>

#include "ctl/command_line.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// Ends with the error that there is no daemon, or that standard output takes nothing; otherwise
// when its reader has gone. A daemon that goes away meanwhile is waited for.
Result<void> follow_events(const EventsCommand& command, const std::string& socket_path,
                           bool colour);

}  // namespace subset::ctl
