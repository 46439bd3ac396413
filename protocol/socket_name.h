// SPDX-License-Identifier: MIT
// The control socket's second name, in the abstract namespace, for those in the same network
// namespace who have lost the way to its path: servers that have called chroot. A name has no owner
// and no permissions, so whoever connects has to look who listens (SO_PEERCRED).
#pragma once

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace subset::protocol {

// The name that belongs to a path; gives back the address' length, 0 if the path is too long.
inline socklen_t name_of_path(const char* path, sockaddr_un& address) {
  const size_t length = strlen(path);
  address = {};
  address.sun_family = AF_UNIX;
  if (length == 0 || 1 + length > sizeof address.sun_path) return 0;
  memcpy(address.sun_path + 1, path, length);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
}

}  // namespace subset::protocol
