// SPDX-License-Identifier: MIT
// One event of the daemon, as people read it. Pure.
#pragma once

#include <string>

#include "daemon/base/result.h"

namespace subset::ctl {

// {"time":...,"event":...,"group":...} into one line without its end; fields that are missing are
// left out. An error: it is no JSON object.
Result<std::string> event_line(const std::string& json, bool colour);

// Is it of a group whose id has `part` in it?
bool event_concerns(const std::string& json, const std::string& part);

}  // namespace subset::ctl
