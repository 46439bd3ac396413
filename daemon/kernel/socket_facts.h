// SPDX-License-Identifier: MIT
// What a socket is, read from a descriptor that somebody sent: it may be anything.
#pragma once

#include "daemon/base/result.h"
#include "daemon/model/types.h"

namespace subset::kernel {

struct SocketFacts {
  GroupKey key;
  Cookie cookie = 0;
  bool reuseport = false;
  bool listening = false;  // TCP
};

// Errors, with text for the user: ENOTSOCK, EOPNOTSUPP (not an IPv4/IPv6 UDP or TCP socket), EINVAL
// (not bound).
Result<SocketFacts> inspect_socket(int fd);

// The key that a socket will have once it is bound there: the address is the caller's word, all
// else the socket's. `scope` is sin6_scope_id.
Result<GroupKey> inspect_unbound(int fd, const std::array<uint8_t, 16>& address, uint16_t port,
                                 uint32_t scope);

// The network namespace of the calling process.
Result<uint32_t> own_netns_inode();

// What `insert` and `attach` will ask for; EINVAL with the reason.
Result<void> check_joinable(const SocketFacts& facts);

}  // namespace subset::kernel
