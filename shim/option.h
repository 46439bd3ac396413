// SPDX-License-Identifier: MIT
// SO_SUBSET: setsockopt and getsockopt as the kernel would answer them if it had the option.
#pragma once

#include <sys/socket.h>

namespace subset::shim {

int set_subset(int fd, const void* value, socklen_t length);
int get_subset(int fd, void* value, socklen_t* length);

}  // namespace subset::shim
