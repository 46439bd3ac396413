// SPDX-License-Identifier: MIT
// SUBSET_SPREAD=fork: workers that are forked after listen(2) get a listener each.
//
// The parent's own listener must not take connections, which nobody would accept: a socket that is
// bound and does not listen is in no group. So listen(2) only notes the backlog, and the real one
// happens when the descriptor is first used: in the process that bound it on the socket itself; in
// a child of it on a *sibling*, which takes its number. A child that never accepts takes no share.
#pragma once

#include <poll.h>
#include <sys/select.h>
#include <sys/types.h>

#include "shim/deferred.h"
#include "shim/socket.h"

namespace subset::shim {

// At load: learns of forks from then on.
void watch_forks();

// listen(2) of a socket that is to be a member: true if it is put off, and the caller has no more
// to do. Not so without a daemon: pending connections of a worker that ends are reset then, instead
// of going to another worker.
bool defer_listen(int fd, const Socket& socket, int backlog);

// A socket that was bound before this program was executed, and does not listen: its listen was put
// off by whoever executed it. With which backlog nobody knows; it gets the largest.
void defer_inherited(int fd, const Socket& socket);

// Does this descriptor look like a listener whose listen was put off?
inline bool is_deferred(int fd) {
  return deferred_listeners.has(fd);
}

// It is used now: 0, or -1 and errno where the listener could not become a member.
int begin_listening(int fd);

void begin_listening(pollfd* polled, nfds_t count);
void begin_listening(int count, const fd_set* readable);

// getsockopt(SO_ACCEPTCONN) of a listener whose listen was put off: as far as the program can see,
// it listens.
int get_acceptconn(int fd, void* value, socklen_t* length);

// `duplicate`, the result of a dup of `original`, is another name of it.
void note_duplicate(int original, int duplicate);
inline int duplicate(int original, int duplicate) {
  if (deferred_listeners.any() && duplicate >= 0) note_duplicate(original, duplicate);
  return duplicate;
}

// The process is about to take `user` for its effective user, with which it creates sockets. The
// kernel lets sockets of one owner alone share a port.
void before_user_changes(uid_t user);

}  // namespace subset::shim
