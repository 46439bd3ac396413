// SPDX-License-Identifier: MIT
// Sockets that share one port within this process, as the probes use them.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::bench {

enum class Sharing {
  Kernel,  // SO_REUSEPORT
  Subset,  // SO_SUBSET: socket i is instance i; the shim must be preloaded
};

struct PortGroup {
  sockaddr_in address{};
  int type = SOCK_DGRAM;
  Sharing sharing = Sharing::Kernel;
  uint32_t total = 0;
  std::vector<Fd> sockets;  // by instance; empty where it is away

  static Result<PortGroup> open(const sockaddr_in& address, int type, Sharing sharing,
                                uint32_t total);
  // Of an instance that is away. Bound, and listening for TCP; never blocks.
  Result<void> open_instance(uint32_t instance);
};

}  // namespace subset::bench
