// SPDX-License-Identifier: MIT
// A second socket at the address of the first, with the same options, flags and owner.
#pragma once

#include "shim/socket.h"

namespace subset::shim {

// Bound, not listening; -1 and errno where it cannot be. On a low number, close-on-exec: what
// replaces a descriptor takes the flags of that one.
int make_sibling(int fd, const Socket& socket);

// A socket that was bound without SO_REUSEPORT is in no group of the kernel's, and cannot enter one
// by itself; but a sibling that is bound (UDP) or listens (TCP) beside it makes one of the two.
// Gives back that sibling, to be closed once the socket is a member: connections that came to it
// until then move to members. -1 and errno: it cannot be, and all is as it was. ENOENT: no daemon
// is there, who alone could make something of it.
int form_group(int fd, const Socket& socket);

// Makes the options of `to` those of `from`, as far as the kernel tells and takes them; of the
// buffers the send buffer, where the application has set it.
void copy_options(int from, int to);

// Puts `sibling` behind the number `fd`, in one step for all threads, and closes its own number.
bool put_in_place(int sibling, int fd);

}  // namespace subset::shim
