// SPDX-License-Identifier: MIT
// What a descriptor is, asked of the kernel: nothing about descriptors is remembered, because dup,
// fork, SCM_RIGHTS and close change what a number means behind our back.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

namespace subset::shim {

// A socket that can be a member.
struct Socket {
  uint64_t cookie = 0;   // SO_COOKIE: the socket's identity under all its numbers
  int family = 0;        // AF_INET or AF_INET6
  uint8_t protocol = 0;  // IPPROTO_UDP or IPPROTO_TCP

  bool udp() const { return protocol == IPPROTO_UDP; }
  const char* protocol_name() const { return udp() ? "udp" : "tcp"; }
};

struct Endpoint {
  uint8_t family = 0;
  uint8_t address[16] = {};  // network order, 4 or 16 bytes
  uint16_t port = 0;         // host order; 0: not bound, or to be chosen by the kernel
  uint32_t scope = 0;        // sin6_scope_id

  bool any_address() const;
};

// 0, or an errno: the kernel's own for a descriptor that is none (EBADF, ENOTSOCK), EOPNOTSUPP for
// a socket that cannot be a member: another family, MPTCP, UDP-Lite, raw, ...
int describe(int fd, Socket& socket);

// Reads the address that a program gives to bind(2) on a socket of `family`. False where the kernel
// would refuse it.
bool parse_endpoint(const sockaddr* address, socklen_t length, int family, Endpoint& endpoint);

// The local address; port 0 where the socket is not bound.
Endpoint local_endpoint(int fd, const Socket& socket);

// An integer option of SOL_SOCKET; 0 where the kernel does not give it.
int int_option(int fd, int name);

// Gets traffic: a UDP socket that is bound, a TCP socket that listens.
bool live(int fd, const Socket& socket, const Endpoint& endpoint);

bool connected(int fd);

}  // namespace subset::shim
