// SPDX-License-Identifier: MIT
#pragma once

#include "daemon/base/result.h"

namespace subset::kernel {

// Success where all three that the daemon needs are there: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
// EPERM, with what to do, where one is not.
Result<void> check_capabilities();

// Keeps CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN and gives up every other capability, in all sets.
// EPERM where one of the three is not to be had.
Result<void> drop_capabilities();

}  // namespace subset::kernel
