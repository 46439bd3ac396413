// SPDX-License-Identifier: MIT
// The control connection: one message with one descriptor, one reply, closed again. No descriptor
// outlives the call, since servers close, count and reuse descriptors as if they owned them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/message.h"

namespace subset::shim {

// Sends `message` (one of protocol/message.h) with `fd`, and waits for the reply: at most a second
// for everything. 0, or why there is no reply: ETIMEDOUT, EPROTO, ENOENT, ECONNREFUSED, EACCES, ...
// A message that was sent but not answered in time stays with the daemon, which will act on it.
int ask(const void* message, size_t size, int fd, protocol::Reply& reply);

// The same of a message that is answered by a descriptor, close-on-exec: -1 where none came, also
// with a good reply. Nothing is asked of a daemon that does not answer in time.
int ask_for_socket(const void* message, size_t size, int fd, protocol::Reply& reply, int& received);

// The same of a Leave or a Query, with the Leave's flags.
int ask_of(protocol::Kind kind, uint32_t flags, int fd, protocol::Reply& reply);

// Is a daemon there? If it knows nothing of this socket yet it says so.
bool daemon_answers(int fd);

}  // namespace subset::shim
