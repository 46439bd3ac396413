// SPDX-License-Identifier: MIT
#include "shim/spread.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim/client.h"
#include "shim/join.h"
#include "shim/known.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/reclaim.h"
#include "shim/sibling.h"

namespace subset::shim {
namespace {

// How many forks this process is away from the one that loaded the shim. What a process defers is
// its own; what it finds deferred with another number it inherited.
constinit std::atomic<uint32_t> generation{0};

// Of a listener that came by execve, and of a duplicate: nobody's own.
constexpr uint32_t kShared = UINT32_MAX;

// Of a socket that another process bound, and has handed to this one.
constexpr uint32_t kHandedOver = UINT32_MAX - 1;

// Of a UDP socket that is to take an instance over, and is shared as it would be without us.
constexpr uint32_t kWaiting = UINT32_MAX - 2;

void in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

uint32_t own_generation() {
  return generation.load(std::memory_order_relaxed);
}

// Is what the table says of this number still so?
bool find_deferred(int fd, Socket& socket, Deferred& deferred) {
  return deferred_sockets.find(fd, deferred) && describe(fd, socket) == 0 &&
         (socket.cookie == deferred.cookie || deferred.cookie == Deferred::kUnknown);
}

// The socket stays shared, as it would be without us.
void warn_shared() {
  Line(LogLevel::Warn) << "a worker shares its socket with others: " << describe_error(errno);
}

bool replace_by_sibling(int fd, Socket& socket, const Wish& wish) {
  const int sibling = make_sibling(fd, socket);
  if (sibling < 0 || !put_in_place(sibling, fd)) {
    warn_shared();
    return false;
  }
  if (describe(fd, socket) != 0) return false;
  keep_wish(socket, wish);
  return true;
}

// The parent's socket is in the kernel's group as long as it is open, but no longer to be picked.
void park(int fd) {
  protocol::Reply reply;
  if (ask_of(protocol::Kind::Leave, protocol::kParked, fd, reply) == 0 && reply.error != 0)
    Line(LogLevel::Debug) << reply.text;
}

// Bound it is in the kernel's group, and a member when it has registered: all before it takes the
// number, so that a sibling that is refused leaves things as they are.
void join_by_sibling(int fd, const Endpoint& endpoint, const Socket& socket, const Wish& wish,
                     bool forked) {
  Socket twin;
  const int sibling = make_sibling(fd, socket);
  if (sibling < 0) return warn_shared();
  if (describe(sibling, twin) != 0 || enter(sibling, twin, endpoint, wish) != 0) {
    real::close(sibling);
    return;
  }
  if (forked) park(fd);
  put_in_place(sibling, fd);
}

// A worker of a server that has gone may have left its listener.
bool takes_held(int fd, Socket& socket, const Endpoint& endpoint, const Wish& wish) {
  return process.settings.vacancy == Vacancy::Hold &&
         reclaim(fd, socket, endpoint, wish) == Reclaimed::Yes;
}

// What TCP_INFO says of a listener: sk_max_ack_backlog.
int backlog_of(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (real::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return SOMAXCONN;
  return static_cast<int>(info.tcpi_sacked);
}

int listen_at_first_use(int fd, Socket& socket, const Deferred& deferred) {
  Wish wish;
  const Endpoint endpoint = local_endpoint(fd, socket);
  const bool listening = live(fd, socket, endpoint);
  const int backlog = listening ? backlog_of(fd) : deferred.backlog;
  if (!find_listener_wish(fd, socket, endpoint, wish)) return real::listen(fd, backlog);
  if (!takes_held(fd, socket, endpoint, wish) && deferred.generation != own_generation())
    replace_by_sibling(fd, socket, wish);
  return listen_and_enter(fd, socket, endpoint, wish, backlog);
}

// A UDP socket that was connected is in no group any more.
int receive_at_first_use(int fd, const Socket& socket, const Deferred& deferred) {
  Wish wish;
  const Endpoint endpoint = local_endpoint(fd, socket);
  const bool forked = deferred.generation != kShared;
  if (deferred.generation == own_generation() || connected(fd) ||
      !find_wish(socket, endpoint, wish))
    return 0;
  if (Socket held = socket; !forked && takes_held(fd, held, endpoint, wish)) return 0;
  if (forked && !daemon_answers(fd))
    Line(LogLevel::Warn) << "no daemon: forked workers share their parent's UDP socket";
  else
    join_by_sibling(fd, endpoint, socket, wish, forked);
  return 0;
}

// It stays the same member, of whoever uses it now. What has no SO_REUSEPORT was in no group
// before.
void take_over(int fd, const Socket& socket) {
  Wish wish;
  Known known;
  const Endpoint endpoint = local_endpoint(fd, socket);
  const bool member =
      known_sockets.find(socket.cookie, known) && known.has(Known::kMember);  // by our own bind
  if (!member && live(fd, socket, endpoint) && !connected(fd) &&
      find_wish(socket, endpoint, wish) && int_option(fd, SO_REUSEPORT) == 1)
    (void)enter(fd, socket, endpoint, wish);
}

// The takeover that waited for it takes effect.
void tell_of_use(int fd, const Socket& socket) {
  Wish wish;
  Known known;
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (known_sockets.find(socket.cookie, known) && known.has(Known::kWaits) && !connected(fd) &&
      find_wish(socket, endpoint, wish))
    (void)enter(fd, socket, endpoint, wish);
}

int begin(int fd) {
  Socket socket;
  Deferred deferred;
  if (!find_deferred(fd, socket, deferred)) return 0;
  if (deferred.generation == kHandedOver) {
    take_over(fd, socket);
    return 0;
  }
  if (deferred.generation == kWaiting || deferred.generation == own_generation())
    tell_of_use(fd, socket);
  if (deferred.generation == kWaiting) return 0;
  return socket.udp() ? receive_at_first_use(fd, socket, deferred)
                      : listen_at_first_use(fd, socket, deferred);
}

// It cannot be bound now and join later, as a listener can. Threads' duplicates keep sharing.
void settle_receiver(int fd, const Socket& socket, const Deferred& deferred) {
  if (deferred.generation == own_generation() || deferred.generation == kShared) return;
  receive_at_first_use(fd, socket, deferred);
  deferred_sockets.drop(fd);
}

void settle_owner(int fd, uid_t user) {
  Socket socket;
  Deferred deferred;
  Wish wish;
  if (!find_deferred(fd, socket, deferred) || deferred.generation == kHandedOver ||
      deferred.generation == kWaiting)
    return;
  if (socket.udp()) return settle_receiver(fd, socket, deferred);
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (live(fd, socket, endpoint) || !find_listener_wish(fd, socket, endpoint, wish)) return;
  if (deferred.generation == own_generation()) {
    (void)!fchown(fd, user, static_cast<gid_t>(-1));
  } else if (replace_by_sibling(fd, socket, wish)) {
    deferred.cookie = socket.cookie;
    deferred.generation = own_generation();
    deferred_sockets.put(fd, deferred);
  }
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
  if (deferred_sockets.find(fd, deferred) && deferred.cookie == socket.cookie) {
    deferred.backlog = backlog;
    return deferred_sockets.put(fd, deferred);
  }
  return daemon_answers(fd) &&
         deferred_sockets.put(
             fd, {.cookie = socket.cookie, .generation = own_generation(), .backlog = backlog});
}

void await_use(int fd, const Socket& socket) {
  Known known;
  if (process.settings.spread & kSpreadFork)
    deferred_sockets.put(fd, {.cookie = socket.cookie, .generation = own_generation()});
  else if (known_sockets.find(socket.cookie, known) && known.has(Known::kWaits))
    deferred_sockets.put(fd, {.cookie = socket.cookie, .generation = kWaiting});
}

void defer_inherited(int fd, const Socket& socket) {
  if (!(process.settings.spread & kSpreadFork) || socket.udp()) return;
  if (int_option(fd, SO_REUSEPORT) == 1 && !connected(fd))
    deferred_sockets.put(fd,
                         {.cookie = socket.cookie, .generation = kShared, .backlog = SOMAXCONN});
}

void await_first_use(int fd, const Socket& socket) {
  deferred_sockets.put(fd, {.cookie = socket.cookie, .generation = kHandedOver});
}

void note_arrivals(const msghdr& message) {
  if (!process.settings.given || !message.msg_control || process.refusal.variable) return;
  auto* header = const_cast<msghdr*>(&message);
  for (cmsghdr* part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const auto* numbers = CMSG_DATA(part);
    for (size_t at = 0; at + CMSG_LEN(sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      memcpy(&fd, numbers + at, sizeof fd);
      deferred_sockets.put(fd, {.cookie = Deferred::kUnknown, .generation = kHandedOver});
    }
  }
}

int first_use(int fd) {
  return as_guest([&] {
    if (!deferred_sockets.claim(fd)) {
      await_other_thread(fd);
      return 0;
    }
    const int result = begin(fd);
    deferred_sockets.drop(fd);
    return result;
  });
}

// What fails here is said by the log, and by the accept that follows.
void first_use(pollfd* polled, nfds_t count) {
  if (!deferred_sockets.any() || !polled) return;
  for (nfds_t i = 0; i < count; ++i)
    if (is_deferred(polled[i].fd)) (void)first_use(polled[i].fd);
}

void first_use(int count, const fd_set* readable) {
  if (!deferred_sockets.any() || !readable) return;
  for (int fd = 0; fd < count && fd < DeferredSockets::kNumbers; ++fd) {
    // Programs use sets larger than FD_SETSIZE, which FD_ISSET refuses when it is fortified.
    const fd_mask word = readable->fds_bits[fd / NFDBITS];
    if ((word >> (fd % NFDBITS) & 1) && is_deferred(fd)) (void)first_use(fd);
  }
}

int get_acceptconn(int fd, void* value, socklen_t* length) {
  Socket socket;
  Deferred deferred;
  const int result = real::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, length);
  const int yes = 1;
  if (result == 0 && find_deferred(fd, socket, deferred) && !socket.udp() &&
      deferred.generation != kHandedOver)
    memcpy(value, &yes, *length < sizeof yes ? *length : sizeof yes);
  return result;
}

// With `dup` the duplicate of a listener whose listen was put off gets a sibling too, and without
// it is the same listener by another number.
void note_duplicate(int original, int copy) {
  as_guest([&] {
    Socket socket;
    Known known;
    Deferred deferred;
    const bool spreads = process.settings.spread & kSpreadDup;
    if (find_deferred(original, socket, deferred)) {
      if (spreads && deferred.generation != kHandedOver) deferred.generation = kShared;
      deferred_sockets.put(copy, deferred);
    } else if (spreads && find_member(original, socket, known)) {
      deferred_sockets.put(copy, {.cookie = socket.cookie, .generation = kShared});
    }
    return 0;
  });
}

// A worker swaps while it is still who its parent is; where the parent itself drops its user before
// it forks, the socket goes with it. Only what does not listen yet: a member stays whose it is,
// since the owner is part of its group's key.
void before_user_changes(uid_t user) {
  if (!deferred_sockets.any() || user == static_cast<uid_t>(-1)) return;
  as_guest([&] {
    for (int fd = 0; fd < DeferredSockets::kNumbers; ++fd)
      if (is_deferred(fd)) settle_owner(fd, user);
    return 0;
  });
}

}  // namespace subset::shim
