// SPDX-License-Identifier: MIT
// What can be seen of another process without privilege.
#pragma once

#include <sys/types.h>

#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/model/types.h"

namespace subset::kernel {

// Readable when the process has ended. ESRCH: it has ended already.
Result<Fd> open_pidfd(pid_t pid);

// comm(5), without control characters; empty if the process is gone.
std::string command_of(pid_t pid);

// How many seccomp filters watch its system calls; 0 if the process is gone.
uint32_t seccomp_filters_of(pid_t pid);

// The CPUs it may run on; empty if the process is gone.
CpuSet affinity_of(pid_t pid);

}  // namespace subset::kernel
