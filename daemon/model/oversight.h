// SPDX-License-Identifier: MIT
// Is a group's table in force at all? Its program decides for one group of the kernel's, and only
// as long as nobody attaches another one there. A server that does so means it, and keeps it. Pure.
#pragma once

#include <string>
#include <vector>

#include "daemon/model/types.h"

namespace subset {

// What picks among the sockets of a group of the kernel's.
enum class Decider : uint8_t {
  Kernel,  // its own hash, as no program is attached
  Own,     // the program of this group
  Subset,  // that of another daemon, or the shim's for lack of one
  Server,  // one that the server attached
};

// Where the kernel has put one member's socket.
struct Placement {
  Cookie cookie = 0;
  uint32_t kernel_group = 0;  // the same for all sockets of one; 0: in none
  Decider decider = Decider::Kernel;
};

// Why the group's own program does not decide; empty: it does.
std::string foreign_reason(Decider decider);

struct Oversight {
  std::string foreign;            // see foreign_reason
  std::vector<Cookie> misplaced;  // in another group of the kernel's than most: nothing picks them
};

// What `members`, the ones that have slots, tell of their group.
Oversight oversee(const std::vector<Placement>& members);

}  // namespace subset
