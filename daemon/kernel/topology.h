// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "daemon/model/table_plan.h"

namespace subset::kernel {

// The machine's CPUs and nodes, from /sys/devices/system below `root` (tests give a tree of their
// own). What cannot be read counts as one node with the CPUs that are online.
Topology read_topology(const std::string& root = "");

}  // namespace subset::kernel
