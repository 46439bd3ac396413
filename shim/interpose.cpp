// SPDX-License-Identifier: MIT
// The calls that the program makes. In an idle process each is one test of a flag in front of the
// real one.
#include <sys/socket.h>

#include "include/subset/so_subset.h"
#include "shim/guard.h"
#include "shim/join.h"
#include "shim/option.h"
#include "shim/process.h"
#include "shim/real.h"

extern "C" {
#define INTERPOSE(type, name, exceptions, parameters, arguments, direct) \
  [[gnu::visibility("default")]] type name parameters exceptions;
#include "shim/interposed.def"
#undef INTERPOSE
}

namespace shim = subset::shim;
namespace real = subset::shim::real;

int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  if (!shim::active()) return real::bind(fd, address, length);
  return shim::as_guest([&] { return shim::bind_and_join(fd, address, length); });
}

int listen(int fd, int backlog) noexcept {
  if (!shim::active()) return real::listen(fd, backlog);
  return shim::as_guest([&] { return shim::listen_and_join(fd, backlog); });
}

int connect(int fd, const sockaddr* address, socklen_t length) {
  if (!shim::active() || !shim::is_dissolve(address, length))
    return real::connect(fd, address, length);
  return shim::as_guest([&] { return shim::dissolve(fd, address, length); });
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  if (level == SOL_SOCKET && name == SO_SUBSET)
    return shim::as_guest([&] { return shim::set_subset(fd, value, length); });
  if (level != SOL_SOCKET || name != SO_REUSEPORT || !shim::active())
    return real::setsockopt(fd, level, name, value, length);
  return shim::as_guest([&] {
    if (shim::unshares_member(fd, value, length)) return 0;
    return real::setsockopt(fd, level, name, value, length);
  });
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  if (level != SOL_SOCKET || name != SO_SUBSET)
    return real::getsockopt(fd, level, name, value, length);
  return shim::as_guest([&] { return shim::get_subset(fd, value, length); });
}
