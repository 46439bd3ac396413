// SPDX-License-Identifier: MIT
// What the daemon does to a member's socket while it holds it: room for what arrives meanwhile.
#pragma once

#include <cstdint>

#include "daemon/base/result.h"
#include "daemon/model/hold.h"

namespace subset::kernel {

Result<ReceiveBuffer> receive_buffer_of(int socket);

// Beyond net.core.rmem_max too (CAP_NET_ADMIN). `bytes` as SO_RCVBUF takes them.
Result<void> set_receive_buffer(int socket, uint32_t bytes);

// As it was, or as another socket has it.
Result<void> restore_receive_buffer(int socket, const ReceiveBuffer& wanted);

// What the queue of a UDP socket costs, in the same account as its limit; 0 where it is not known.
uint64_t queued_bytes(int socket);

// A listener takes up to `connections` (or net.core.somaxconn of its namespace, if that is less)
// before they are accepted; its process sets its own number when it listens.
Result<void> set_backlog(int listener, int connections);

}  // namespace subset::kernel
