// SPDX-License-Identifier: MIT
// How much of the daemon, and of the memory of the kernel, a user may have. Root is not limited.
#pragma once

#include <chrono>
#include <cstdint>

namespace subset {

struct Quotas {
  // Of one user: the owner of the sockets.
  uint32_t groups_per_user = 256;
  uint32_t members_per_user = 8192;
  uint32_t instances_per_user = 16384;  // totals of all groups: what the maps are sized by
  uint32_t held_sockets_per_user = 1024;

  // Of all users but root together: one person may have very many (subuids).
  uint32_t groups = 4096;
  uint32_t members = 65536;
  uint32_t instances = 131072;
  uint32_t held_sockets = 16384;

  bool operator==(const Quotas&) const = default;
};

// What the sockets of dead servers get, with vacancy `hold`.
struct Hold {
  std::chrono::seconds time{30};
  uint32_t receive_buffer_bytes = 8u << 20;  // of a UDP socket, while it is held

  bool operator==(const Hold&) const = default;
};

}  // namespace subset
