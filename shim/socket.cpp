// SPDX-License-Identifier: MIT
#include "shim/socket.h"

#include <errno.h>
#include <string.h>

#include "shim/real.h"

namespace subset::shim {
namespace {

// <netinet/in.h> of glibc does not name it: a sockaddr_in6 without sin6_scope_id, which the kernel
// still takes.
constexpr socklen_t kIn6SizeRfc2133 = 24;

bool is_candidate(int family, int type, int protocol) {
  if (family != AF_INET && family != AF_INET6) return false;
  return (type == SOCK_DGRAM && protocol == IPPROTO_UDP) ||
         (type == SOCK_STREAM && protocol == IPPROTO_TCP);
}

}  // namespace

bool Endpoint::any_address() const {
  static constexpr uint8_t kAny[sizeof address] = {};
  return !memcmp(address, kAny, sizeof address);
}

int int_option(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return real::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : 0;
}

int describe(int fd, Socket& socket) {
  socklen_t length = sizeof socket.family;
  if (real::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &socket.family, &length) != 0) return errno;
  const int protocol = int_option(fd, SO_PROTOCOL);
  if (!is_candidate(socket.family, int_option(fd, SO_TYPE), protocol)) return EOPNOTSUPP;
  socket.protocol = static_cast<uint8_t>(protocol);
  length = sizeof socket.cookie;
  if (real::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &socket.cookie, &length) != 0) return errno;
  return 0;
}

bool parse_endpoint(const sockaddr* address, socklen_t length, int family, Endpoint& endpoint) {
  if (!address) return false;
  if (family == AF_INET) {
    sockaddr_in in{};
    if (length < sizeof in) return false;
    memcpy(&in, address, sizeof in);
    // The kernel takes AF_UNSPEC for AF_INET if the address is the any-address.
    const bool unspecified = in.sin_family == AF_UNSPEC && in.sin_addr.s_addr == INADDR_ANY;
    if (in.sin_family != AF_INET && !unspecified) return false;
    memcpy(endpoint.address, &in.sin_addr, sizeof in.sin_addr);
    endpoint.port = ntohs(in.sin_port);
  } else {
    sockaddr_in6 in6{};
    if (length < kIn6SizeRfc2133) return false;
    memcpy(&in6, address, length < sizeof in6 ? length : sizeof in6);
    if (in6.sin6_family != AF_INET6) return false;
    memcpy(endpoint.address, &in6.sin6_addr, sizeof in6.sin6_addr);
    endpoint.port = ntohs(in6.sin6_port);
    endpoint.scope = in6.sin6_scope_id;
  }
  endpoint.family = static_cast<uint8_t>(family);
  return true;
}

Endpoint local_endpoint(int fd, const Socket& socket) {
  Endpoint endpoint;
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(fd, address, &length) == 0)
    parse_endpoint(address, length, socket.family, endpoint);
  return endpoint;
}

bool live(int fd, const Socket& socket, const Endpoint& endpoint) {
  return socket.udp() ? endpoint.port != 0 : int_option(fd, SO_ACCEPTCONN) == 1;
}

bool connected(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  return getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0;
}

}  // namespace subset::shim
