// SPDX-License-Identifier: MIT
// SUBSET_VACANCY=hold: the socket of a process that has gone, with all that is queued in it,
// instead of a new one. The daemon is asked before bind, not after: the held socket has the address
// already.
#pragma once

#include "shim/join.h"
#include "shim/socket.h"

namespace subset::shim {

enum class Reclaimed {
  No,       // none is held for us: bind
  Yes,      // the descriptor is the held socket now: bound, and listening (TCP); a member already
  Refused,  // errno says why: the call is to fail
};

// Asks for a socket that is held at `endpoint`, where the socket behind `fd` is about to be bound
// or to listen, and puts it behind that number with the options and flags of the one it replaces.
// On Yes `socket` is the held one. Whatever goes wrong is No.
Reclaimed reclaim(int fd, Socket& socket, const Endpoint& endpoint, const Wish& wish);

}  // namespace subset::shim
