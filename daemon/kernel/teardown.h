// SPDX-License-Identifier: MIT
// Takes down what daemons leave in place on purpose.
#pragma once

#include <cstddef>
#include <string>

#include "daemon/base/result.h"

namespace subset::kernel {

struct TornDown {
  size_t groups = 0;
  size_t sockets = 0;   // members that lived, of all groups
  size_t detached = 0;  // those whose group in the kernel has no program any more; with the others
                        // a program that leaves everything to the kernel stays until they close
};

// Every group that is pinned below `dir` is left to the kernel's own hash, and every pin is
// removed, `dir` too. What belongs to servers is not touched. Needs CAP_SYS_PTRACE to detach
// programs. Errors: EBUSY, a daemon works there; EEXIST, it is of another version. A directory that
// is not there is none.
Result<TornDown> tear_down(const std::string& dir);

}  // namespace subset::kernel
