// SPDX-License-Identifier: MIT
#include "shim/spread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim/client.h"
#include "shim/join.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sibling.h"

namespace subset::shim {
namespace {

// How many forks this process is away from the one that loaded the shim. What a process defers is
// its own; what it finds deferred with another number it inherited.
constinit std::atomic<uint32_t> generation{0};

// Of a listener that came by execve: nobody's own.
constexpr uint32_t kInherited = UINT32_MAX;

void in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

uint32_t own_generation() {
  return generation.load(std::memory_order_relaxed);
}

// Is a daemon there? It knows nothing of this socket yet, and says so.
bool daemon_answers(int fd) {
  const protocol::OfSocket message{
      .header = {.kind = protocol::Kind::Query, .size = sizeof message}};
  protocol::Reply reply;
  return ask(&message, sizeof message, fd, reply) == 0;
}

// Is what the table says of this number still so?
bool find_deferred(int fd, Socket& socket, Deferred& deferred) {
  return deferred_listeners.find(fd, deferred) && describe(fd, socket) == 0 &&
         socket.cookie == deferred.cookie;
}

// On failure the socket stays shared, as it would be without us.
bool replace_by_sibling(int fd, Socket& socket, const Wish& wish) {
  const int sibling = make_sibling(fd, socket);
  if (sibling < 0 || !put_in_place(sibling, fd)) {
    Line(LogLevel::Warn) << "a forked worker shares its parent's listener: "
                         << describe_error(errno);
    return false;
  }
  if (describe(fd, socket) != 0) return false;
  keep_wish(socket, wish);
  return true;
}

int listen_now(int fd, const Deferred& deferred) {
  Socket socket;
  Wish wish;
  if (describe(fd, socket) != 0 || socket.cookie != deferred.cookie) return 0;
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (!find_listener_wish(fd, socket, endpoint, wish)) return real::listen(fd, deferred.backlog);
  if (deferred.generation != own_generation()) replace_by_sibling(fd, socket, wish);
  return listen_and_enter(fd, socket, endpoint, wish, deferred.backlog);
}

// Another thread is at it. It is done in a few exchanges with the daemon, each of which ends within
// a second; and it may be this very thread, interrupted by the signal whose handler we are in.
void await_other_thread(int fd) {
  constexpr time_t kPatience = 2;
  timespec start{};
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &start);
  do {
    sched_yield();
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (is_deferred(fd) && now.tv_sec - start.tv_sec <= kPatience);
}

}  // namespace

// Registration allocates, so it is made at load. vfork, posix_spawn and clone do not call it, and
// need not: their children execute something else.
void watch_forks() {
  if (process.settings.spread & kSpreadFork) pthread_atfork(nullptr, nullptr, in_child);
}

bool defer_listen(int fd, const Socket& socket, int backlog) {
  if (!(process.settings.spread & kSpreadFork)) return false;
  Deferred deferred;
  if (deferred_listeners.find(fd, deferred) && deferred.cookie == socket.cookie) {
    deferred.backlog = backlog;
    return deferred_listeners.put(fd, deferred);
  }
  return daemon_answers(fd) &&
         deferred_listeners.put(
             fd, {.cookie = socket.cookie, .generation = own_generation(), .backlog = backlog});
}

void defer_inherited(int fd, const Socket& socket) {
  if (!(process.settings.spread & kSpreadFork) || socket.udp()) return;
  if (int_option(fd, SO_REUSEPORT) == 1 && !connected(fd))
    deferred_listeners.put(
        fd, {.cookie = socket.cookie, .generation = kInherited, .backlog = SOMAXCONN});
}

int begin_listening(int fd) {
  return as_guest([&] {
    Deferred deferred;
    if (!deferred_listeners.claim(fd)) {
      await_other_thread(fd);
      return 0;
    }
    const int result = deferred_listeners.find(fd, deferred) ? listen_now(fd, deferred) : 0;
    deferred_listeners.drop(fd);
    return result;
  });
}

// What fails here is said by the log, and by the accept that follows.
void begin_listening(pollfd* polled, nfds_t count) {
  if (!deferred_listeners.any() || !polled) return;
  for (nfds_t i = 0; i < count; ++i)
    if (is_deferred(polled[i].fd)) (void)begin_listening(polled[i].fd);
}

void begin_listening(int count, const fd_set* readable) {
  if (!deferred_listeners.any() || !readable) return;
  for (int fd = 0; fd < count && fd < DeferredListeners::kNumbers; ++fd) {
    // Programs use sets larger than FD_SETSIZE, which FD_ISSET refuses when it is fortified.
    const fd_mask word = readable->fds_bits[fd / NFDBITS];
    if ((word >> (fd % NFDBITS) & 1) && is_deferred(fd)) (void)begin_listening(fd);
  }
}

int get_acceptconn(int fd, void* value, socklen_t* length) {
  Socket socket;
  Deferred deferred;
  const int result = real::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, length);
  const int yes = 1;
  if (result == 0 && find_deferred(fd, socket, deferred))
    memcpy(value, &yes, *length < sizeof yes ? *length : sizeof yes);
  return result;
}

void note_duplicate(int original, int duplicate) {
  Deferred deferred;
  if (original != duplicate && deferred_listeners.find(original, deferred))
    deferred_listeners.put(duplicate, deferred);
}

// A worker swaps while it is still who its parent is; where the parent itself drops its user before
// it forks, the socket goes with it.
void before_user_changes(uid_t user) {
  if (!deferred_listeners.any() || user == static_cast<uid_t>(-1)) return;
  as_guest([&] {
    for (int fd = 0; fd < DeferredListeners::kNumbers; ++fd) {
      Socket socket;
      Deferred deferred;
      Wish wish;
      if (!is_deferred(fd) || !find_deferred(fd, socket, deferred)) continue;
      if (deferred.generation == own_generation()) {
        (void)!fchown(fd, user, static_cast<gid_t>(-1));
      } else if (find_listener_wish(fd, socket, local_endpoint(fd, socket), wish) &&
                 replace_by_sibling(fd, socket, wish)) {
        deferred_listeners.put(
            fd,
            {.cookie = socket.cookie, .generation = own_generation(), .backlog = deferred.backlog});
      }
    }
    return 0;
  });
}

}  // namespace subset::shim
