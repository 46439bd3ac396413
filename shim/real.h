// SPDX-License-Identifier: MIT
// The functions behind the shim: libc's, or those of the next preloaded library. The shim's own
// code calls these, never the public names, which would lead back into itself.
#pragma once

#include <poll.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>

namespace subset::shim::real {

// A pointer is right at any time, also before our constructor ran: it starts at a function that
// resolves all of them first. Relaxed is enough, because all writers write the same value.
#define INTERPOSE(type, name, exceptions, parameters, arguments, direct) \
  extern std::atomic<type(*) parameters> name##_pointer;                 \
  inline type name parameters {                                          \
    return name##_pointer.load(std::memory_order_relaxed) arguments;     \
  }
#include "shim/interposed.def"
#undef INTERPOSE

void resolve();

}  // namespace subset::shim::real
