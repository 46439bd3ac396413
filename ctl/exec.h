// SPDX-License-Identifier: MIT
#pragma once

#include "ctl/command_line.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// `subset exec`: comes back only to say why not.
Error execute(const ExecCommand& command);

}  // namespace subset::ctl
