// SPDX-License-Identifier: MIT
#include "shim/guard.h"

#include <errno.h>
#include <string.h>

#include "shim/join.h"
#include "shim/known.h"
#include "shim/log.h"
#include "shim/real.h"
#include "shim/socket.h"

namespace subset::shim {

bool is_dissolve(const sockaddr* address, socklen_t length) {
  return address && length >= sizeof address->sa_family && address->sa_family == AF_UNSPEC;
}

// The kernel's disconnect of a UDP socket that was bound to the any-address (it has no
// SOCK_BINDADDR_LOCK) resets the address and hashes the socket anew, which detaches it from the
// reuseport group for good: nothing but a bind attaches one, and a bound socket cannot be bound
// again. It stays at the same address and port, alone and in front of the group, and the lookup
// takes it before it asks the group: all traffic goes there, whatever the program says.
//
// Not connected: there is nothing to dissolve, and the call is answered without the kernel.
// Connected: the connect has taken the socket out of its group already, and hears its peer alone.
// To dissolve it would take everything from the others; to say that it was done would leave a
// server waiting for clients that it cannot hear. A new socket in its place would be lost to the
// epoll sets that hold the old one. So this one call fails, and the server can open a new socket.
// A socket with an address of its own keeps that, is not hashed anew, and harms nobody.
int dissolve(int fd, const sockaddr* address, socklen_t length) {
  Socket socket;
  Known known;
  if (!find_member(fd, socket, known) || !socket.udp()) return real::connect(fd, address, length);
  if (!connected(fd)) return 0;
  if (!known.has(Known::kAnyAddress)) return real::connect(fd, address, length);
  Line(LogLevel::Error) << "connect(AF_UNSPEC) on a member of a subset that is bound to the "
                           "any-address would take the traffic of all: refused";
  errno = EOPNOTSUPP;
  return -1;
}

// With SO_REUSEPORT off after bind, the kernel's lookup takes the socket itself instead of asking
// its group: all traffic again. A length that the kernel refuses is left to the kernel.
bool unshares_member(int fd, const void* value, socklen_t length) {
  Socket socket;
  Known known;
  int on = 0;
  if (!value || length < sizeof on) return false;
  memcpy(&on, value, sizeof on);
  return on == 0 && find_member(fd, socket, known);
}

}  // namespace subset::shim
