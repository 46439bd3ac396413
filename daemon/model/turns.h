// SPDX-License-Identifier: MIT
// In which order groups that wait are settled. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/model/types.h"

namespace subset {

struct WaitingGroup {
  GroupSerial group = 0;
  uint32_t uid = 0;
  uint64_t since = 0;  // counts the changes
};

// Of each user one group, then of each the second, and so on, from the user on who follows the one
// that came last: who changes hundreds of groups at once waits for them, and not those who changed
// one. Of one user's groups the one that waits longest: those that are changed again as soon as
// they are settled must not keep the others from their turn.
std::vector<GroupSerial> in_turns(std::vector<WaitingGroup> waiting, uint32_t last_uid);

}  // namespace subset
