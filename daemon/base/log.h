// SPDX-License-Identifier: MIT
// The daemon's log: spdlog on standard error. Only the daemon and its main write to it; the parts
// below them give back a Result, and whoever knows what it means for the machine says so.
#pragma once

#include <array>
#include <string_view>

#include "daemon/base/result.h"

namespace subset {

// The words of SUBSET_LOG.
inline constexpr std::array<std::string_view, 5> kLogLevels{"off", "error", "warn", "info",
                                                            "debug"};

// Makes spdlog's default logger write to standard error, from `level` on. Under journald each line
// starts with its priority, `<4>`, and leaves the time to the journal. Errors: EINVAL for another
// word.
Result<void> start_log(std::string_view level);

}  // namespace subset
