// SPDX-License-Identifier: MIT
// Does this kernel take the programs that a daemon loads? Each kernel's verifier is a different
// one.
#pragma once

#include "daemon/base/result.h"

namespace subset::kernel {

// Loads all of them as a daemon does, for a group of each mode that nobody is a member of, with
// pins in a directory of its own beside the daemon's, and takes them away again; signals wait
// meanwhile. Says what could not be loaded. ENODEV: there is no bpf file system at /sys/fs/bpf, and
// this mounts none.
Result<void> try_programs();

}  // namespace subset::kernel
