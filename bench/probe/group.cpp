// SPDX-License-Identifier: MIT
#include "bench/probe/group.h"

#include <sys/socket.h>

#include "bench/load/address.h"
#include "include/subset/so_subset.h"

namespace subset::bench {
namespace {

Result<void> share_port(int socket, Sharing sharing, uint32_t instance, uint32_t total) {
  const int on = 1;
  const so_subset share{.total = total, .instance = instance};
  const bool ours = sharing == Sharing::Subset;
  const int done = ours ? setsockopt(socket, SOL_SOCKET, SO_SUBSET, &share, sizeof share)
                        : setsockopt(socket, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (done != 0) return fail_errno(ours ? "set SO_SUBSET" : "set SO_REUSEPORT");
  return {};
}

}  // namespace

Result<void> PortGroup::open_instance(uint32_t instance) {
  Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno("make a socket");
  if (auto done = share_port(socket.get(), sharing, instance, total); !done) return done;
  if (bind(socket.get(), generic(address), sizeof address) != 0) return fail_errno("bind");
  if (type == SOCK_STREAM && listen(socket.get(), 1024) != 0) return fail_errno("listen");
  sockets[instance] = std::move(socket);
  return {};
}

Result<PortGroup> PortGroup::open(const sockaddr_in& address, int type, Sharing sharing,
                                  uint32_t total) {
  PortGroup group{.address = address, .type = type, .sharing = sharing, .total = total};
  group.sockets.resize(total);
  for (uint32_t instance = 0; instance < total; instance++) {
    if (auto done = group.open_instance(instance); !done) return tl::unexpected(done.error());
  }
  return group;
}

}  // namespace subset::bench
