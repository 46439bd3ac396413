// SPDX-License-Identifier: MIT
// A second socket at the address of the first, with the same options, flags and owner.
#pragma once

#include "shim/socket.h"

namespace subset::shim {

// Bound, not listening; -1 and errno where it cannot be. On a low number, close-on-exec: what
// replaces a descriptor takes the flags of that one.
int make_sibling(int fd, const Socket& socket);

// Puts `sibling` behind the number `fd`, in one step for all threads, and closes its own number.
bool put_in_place(int sibling, int fd);

}  // namespace subset::shim
