// SPDX-License-Identifier: MIT
// SUBSET_SPREAD: workers that share a socket get one each, a *sibling*, which takes the number of
// the descriptor when it is first used: a descriptor that nobody uses takes no share.
//
// fork: workers that are forked after listen(2). The parent's own listener must not take
// connections, which nobody would accept: a socket that is bound and does not listen is in no
// group. So listen(2) only notes the backlog, and the real one happens at first use: in the process
// that bound it on the socket itself, in a child of it on a sibling.
//
// A UDP socket gets traffic from bind on, which nobody can put off: it is a member until the first
// child has a sibling, and then out of the map, so that the program picks it no more. Without a
// daemon the kernel would go on picking it, so the children share it then.
//
// dup: threads that each have a duplicate of a UDP socket or a listener. The first goes on with the
// socket itself, which is a member already.
//
// First use is accept, poll, select, EPOLL_CTL_ADD, or a receive. It is looked for in front of the
// call; behind that nothing of ours comes any more.
//
// A UDP socket that is to take an instance over from a process that serves waits there too: it has
// joined at bind, and takes over at its first use.
//
// Sockets that a process was handed by another one, over execve or by SCM_RIGHTS, wait in the same
// table: at first use the process tells the daemon that it holds them now.
#pragma once

#include <poll.h>
#include <sys/select.h>
#include <sys/types.h>

#include "shim/deferred.h"
#include "shim/process.h"
#include "shim/socket.h"

namespace subset::shim {

// At load: learns of forks from then on.
void watch_forks();

// listen(2) of a socket that is to be a member: true if it is put off, and the caller has no more
// to do. Not so without a daemon: pending connections of a worker that ends are reset then, instead
// of going to another worker.
bool defer_listen(int fd, const Socket& socket, int backlog);

// A UDP socket that became a member, or waits to be one.
void await_use(int fd, const Socket& socket);

// A socket that was bound before this program was executed, and does not listen: its listen was put
// off by whoever executed it. With which backlog nobody knows; it gets the largest.
void defer_inherited(int fd, const Socket& socket);

// A socket that gets traffic already and was handed to this process.
void await_first_use(int fd, const Socket& socket);

// What came with a message: descriptors, as many as there is room for, wait for their first use.
// Only looks at memory.
void note_arrivals(const msghdr& message);

// Does something wait for the first use of this descriptor, as far as its number tells?
inline bool is_deferred(int fd) {
  return deferred_sockets.has(fd);
}

// It is used now: 0, or -1 and errno where a listener could not become a member.
int first_use(int fd);

// Where this fails the receive that follows tells.
inline void before_receive(int fd) {
  if (is_deferred(fd)) (void)first_use(fd);
}

void first_use(pollfd* polled, nfds_t count);
void first_use(int count, const fd_set* readable);

// getsockopt(SO_ACCEPTCONN) of a listener whose listen was put off: as far as the program can see,
// it listens.
int get_acceptconn(int fd, void* value, socklen_t* length);

// `copy`, the result of a dup of `original`, is another name of it.
void note_duplicate(int original, int copy);
inline int duplicate(int original, int copy) {
  const bool matters = deferred_sockets.any() || (process.settings.spread & kSpreadDup);
  if (matters && copy >= 0 && copy != original) note_duplicate(original, copy);
  return copy;
}

// The process is about to take `user` for its effective user, with which it creates sockets. The
// kernel lets sockets of one owner alone share a port.
void before_user_changes(uid_t user);

}  // namespace subset::shim
