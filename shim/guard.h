// SPDX-License-Identifier: MIT
// Calls that would make one member take the traffic of its whole group, by the kernel's rules.
#pragma once

#include <sys/socket.h>

namespace subset::shim {

// Is this connect(2) a dissolve (AF_UNSPEC)?
bool is_dissolve(const sockaddr* address, socklen_t length);

// connect(AF_UNSPEC) in an active process: 0, or -1 and errno.
int dissolve(int fd, const sockaddr* address, socklen_t length);

// Would this value of SO_REUSEPORT take a member out of its group?
bool unshares_member(int fd, const void* value, socklen_t length);

}  // namespace subset::shim
