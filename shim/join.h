// SPDX-License-Identifier: MIT
// How a socket becomes a member: at bind (UDP), at listen (TCP), or at SO_SUBSET on a live socket.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "protocol/message.h"
#include "shim/known.h"
#include "shim/socket.h"

namespace subset::shim {

// What a socket asks for, by SO_SUBSET or by the environment.
struct Wish {
  uint32_t total = 0;
  uint32_t instance = 0;
  bool declared = false;  // by SO_SUBSET
};

// bind(2) and listen(2) of an active process: 0, or -1 and errno.
int bind_and_join(int fd, const sockaddr* address, socklen_t length);
int listen_and_join(int fd, int backlog);

// Is the socket in use already, or will its first use be told to the daemon?
enum class Use : uint8_t { Begun, Later };

// Registers a live socket with the daemon and remembers it. 0 also where there is no daemon and the
// kernel's hash has to do.
int enter(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish,
          Use use = Use::Begun);

// What is said to the daemon of it.
protocol::Wanted wanted_of(const Socket& socket, const Wish& wish);

// The daemon has made the socket a member: says so, and remembers it.
void accept_reply(const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                  const protocol::Reply& reply);

// Is the socket a member, as far as this process knows? Then what it knows of it.
bool find_member(int fd, Socket& socket, Known& known);

// What a socket at this address asks for; false where it is to be in no subset.
bool find_wish(const Socket& socket, const Endpoint& endpoint, Wish& wish);

// What a TCP socket asks for that is to listen; false where it is not to be a member.
bool find_listener_wish(int fd, const Socket& socket, const Endpoint& endpoint, Wish& wish);

// A real listen(2), after which the socket registers; one that is refused does not listen.
int listen_and_enter(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                     int backlog);

// What another socket declared holds for this one, which takes its place.
void keep_wish(const Socket& socket, const Wish& wish);

// Does a reply without error name an instance that there can be? getsockopt would hand any other on
// to the program.
bool assigns(const protocol::Reply& reply);

// Asks for SO_REUSEPORT, without which the kernel lets nobody share a port. What the program said
// before does not matter; a kernel that refuses will say more at bind.
void share_port(int fd);

}  // namespace subset::shim
