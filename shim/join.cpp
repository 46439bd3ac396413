// SPDX-License-Identifier: MIT
#include "shim/join.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>

#include "shim/client.h"
#include "shim/fallback.h"
#include "shim/farewell.h"
#include "shim/known.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/reclaim.h"
#include "shim/spread.h"

namespace subset::shim {
namespace {

// A parent's UDP socket goes out of the group when its workers have joined, with all it holds:
// there is nothing to give to a next process.
Vacancy vacancy_of(const Socket& socket) {
  const Settings& settings = process.settings;
  if (settings.vacancy != Vacancy::Hold || !socket.udp() || !(settings.spread & kSpreadFork))
    return settings.vacancy;
  static constinit std::atomic<bool> warned{false};
  if (!warned.exchange(true, std::memory_order_relaxed))
    Line(LogLevel::Warn) << "SUBSET_VACANCY=hold: UDP sockets that are spread over forked workers "
                            "are not held";
  return Vacancy::Spread;
}

// The daemon's answers that the program has to hear of. Any other error means that daemon and shim
// do not understand each other, and is no better than no daemon.
bool is_refusal(int error) {
  return error == EBUSY || error == EINVAL || error == EPERM || error == ENOSPC;
}

void log_joined(const Socket& socket, const Endpoint& endpoint, const protocol::Reply& reply) {
  if (reply.text[0]) Line(LogLevel::Warn) << reply.text;
  Line(LogLevel::Info) << "joined " << uint64_t{reply.instance} << "/" << uint64_t{reply.total}
                       << " of " << socket.protocol_name() << " port " << uint64_t{endpoint.port}
                       << ", member " << uint64_t{reply.member};
}

// SUBSET_PIN, at the first join. Not for declared sockets: the instances of a process that declares
// several are its threads', and it pins those itself. sched_setaffinity(0) pins this thread and the
// threads and processes that it starts from now on.
void pin_once(uint32_t instance, uint32_t total) {
  static constinit std::atomic<bool> pinned{false};
  if (!process.settings.pin || instance >= total || pinned.exchange(true)) return;
  const CpuMask mask = cpus_of_instance(process.allowed_cpus, instance, total);
  if (sched_setaffinity(0, sizeof mask, reinterpret_cast<const cpu_set_t*>(mask.words)) != 0)
    Line(LogLevel::Warn) << "SUBSET_PIN: " << describe_error(errno);
}

void become_member(const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                   uint32_t instance, uint32_t total, bool waits = false) {
  const uint32_t flags = Known::kMember | (wish.declared ? Known::kDeclared : 0) |
                         (endpoint.any_address() ? Known::kAnyAddress : 0) |
                         (waits ? Known::kWaits : 0);
  known_sockets.put(socket.cookie, {wish.total, wish.instance, instance, flags});
  if (!wish.declared) pin_once(instance, total);
}

// A member that asks again for what it has, because it listens again.
bool is_repeated(const Socket& socket, const Wish& wish) {
  Known known;
  return known_sockets.find(socket.cookie, known) && known.has(Known::kMember) &&
         known.total == wish.total && known.instance == wish.instance;
}

int enter_without_daemon(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                         const NoDaemon& why) {
  if (is_repeated(socket, wish)) return 0;  // steering goes on without the daemon
  if (fall_back(fd, wish.total, why) != 0) return -1;
  become_member(socket, endpoint, wish, wish.instance, wish.total);
  return 0;
}

}  // namespace

bool find_member(int fd, Socket& socket, Known& known) {
  return describe(fd, socket) == 0 && known_sockets.find(socket.cookie, known) &&
         known.has(Known::kMember);
}

protocol::Wanted wanted_of(const Socket& socket, const Wish& wish) {
  const Settings& settings = process.settings;
  protocol::Wanted wanted;
  wanted.lineage = process.lineage;
  wanted.total = wish.total;
  wanted.instance = wish.instance;
  wanted.weight = settings.weight;
  wanted.mode = static_cast<uint8_t>(settings.mode);
  wanted.vacancy = static_cast<uint8_t>(vacancy_of(socket));
  wanted.conflict = static_cast<uint8_t>(settings.conflict);
  if (settings.elastic && !wish.declared) wanted.flags |= protocol::kElastic;
  if (settings.mode_given) wanted.flags |= protocol::kModeGiven;
  if (settings.vacancy_given) wanted.flags |= protocol::kVacancyGiven;
  if (settings.weight_given) wanted.flags |= protocol::kWeightGiven;
  if (settings.fallback == Fallback::Fail) wanted.flags |= protocol::kMustJoin;
  return wanted;
}

void accept_reply(const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                  const protocol::Reply& reply) {
  log_joined(socket, endpoint, reply);
  become_member(socket, endpoint, wish, reply.instance, reply.total, reply.error == EINPROGRESS);
}

// What the socket said itself counts, also that it wants to be in no subset; only then does the
// environment speak.
bool find_wish(const Socket& socket, const Endpoint& endpoint, Wish& wish) {
  const Settings& settings = process.settings;
  Known known;
  if (known_sockets.find(socket.cookie, known) && known.has(Known::kDeclared)) {
    wish = {.total = known.total, .instance = known.instance, .declared = true};
    return known.total != 0;
  }
  wish = {.total = settings.total, .instance = settings.instance};
  return settings.given &&
         matches(settings, socket.protocol, endpoint.family, endpoint.address, endpoint.port);
}

// A TCP socket that has to share its port needs SO_REUSEPORT, which bind_and_join set. One without
// it was bound by others, or to a port of the kernel's choice: not for the environment to steer.
bool find_listener_wish(int fd, const Socket& socket, const Endpoint& endpoint, Wish& wish) {
  return !socket.udp() && find_wish(socket, endpoint, wish) &&
         (wish.declared || int_option(fd, SO_REUSEPORT) == 1);
}

// The server's own words for it mostly say less; once a port, since some try again and again.
void explain_refusal(const Socket& socket, const Endpoint& endpoint) {
  if (errno != EADDRINUSE) return;
  static constinit std::atomic<uint32_t> told{0};
  const uint32_t port = uint32_t{socket.protocol} << 16 | endpoint.port;
  if (told.exchange(port, std::memory_order_relaxed) == port) return;
  Line(LogLevel::Error)
      << socket.protocol_name() << " port " << uint64_t{endpoint.port}
      << " is in use by a socket that does not share it, or is another user's: ss -ln"
      << (socket.udp() ? "u" : "t") << "p 'sport = :" << uint64_t{endpoint.port} << "' shows whose";
}

void keep_wish(const Socket& socket, const Wish& wish) {
  if (wish.declared)
    known_sockets.put(socket.cookie, {wish.total, wish.instance, wish.instance, Known::kDeclared});
}

bool assigns(const protocol::Reply& reply) {
  return (reply.error == 0 || reply.error == EINPROGRESS) && reply.total <= kMaxTotal &&
         reply.instance < reply.total;
}

void share_port(int fd) {
  const int on = 1;
  real::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
}

// A daemon of an earlier release knows no takeover that waits.
int ask_to_enter(int fd, protocol::Register& message, protocol::Reply& reply) {
  const int error = ask(&message, sizeof message, fd, reply);
  if (error != 0 || reply.error != EPROTO || !(message.wanted.flags & protocol::kTellsUse))
    return error;
  message.wanted.flags &= static_cast<uint8_t>(~protocol::kTellsUse);
  return ask(&message, sizeof message, fd, reply);
}

int enter(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish, Use use) {
  protocol::Register message;
  message.wanted = wanted_of(socket, wish);
  if (use == Use::Later) message.wanted.flags |= protocol::kTellsUse;
  protocol::Reply reply;
  if (const int error = ask_to_enter(fd, message, reply))
    return enter_without_daemon(fd, socket, endpoint, wish, {.error = error});
  if (is_refusal(reply.error)) {
    Line(LogLevel::Error) << (reply.text[0] ? reply.text : describe_error(reply.error));
    errno = reply.error;
    return -1;
  }
  if (!assigns(reply))
    return enter_without_daemon(
        fd, socket, endpoint, wish,
        {.error = reply.error != 0 ? reply.error : EPROTO, .text = reply.text});
  accept_reply(socket, endpoint, wish, reply);
  if (!socket.udp()) listeners.put(fd);
  return 0;
}

// A listener that is put off is asked for when it is used.
bool reclaims_at_bind(const Socket& socket) {
  return process.settings.vacancy == Vacancy::Hold &&
         (socket.udp() || !(process.settings.spread & kSpreadFork));
}

int bind_and_join(int fd, const sockaddr* address, socklen_t length) {
  Socket socket;
  Endpoint endpoint;
  Wish wish;
  if (describe(fd, socket) != 0 || !parse_endpoint(address, length, socket.family, endpoint) ||
      !find_wish(socket, endpoint, wish))
    return real::bind(fd, address, length);
  if (!settings_accepted()) return -1;
  share_port(fd);
  if (reclaims_at_bind(socket)) {
    const Reclaimed held = reclaim(fd, socket, endpoint, wish);
    if (held != Reclaimed::No) return held == Reclaimed::Yes ? 0 : -1;
  }
  if (real::bind(fd, address, length) != 0) {
    explain_refusal(socket, endpoint);
    return -1;
  }
  if (!socket.udp()) return 0;
  const Use use = DeferredSockets::in_range(fd) ? Use::Later : Use::Begun;
  if (enter(fd, socket, endpoint, wish, use) != 0) return -1;
  await_use(fd, socket);
  return 0;
}

int listen_and_enter(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish,
                     int backlog) {
  const bool listening = live(fd, socket, endpoint);
  if (real::listen(fd, backlog) != 0) {
    explain_refusal(socket, endpoint);
    return -1;
  }
  if (enter(fd, socket, endpoint, wish) == 0) return 0;
  // A listen that failed must not leave a listener, whose connections nobody would accept. The
  // socket stays bound after this.
  const int error = errno;
  if (!listening) real::shutdown(fd, SHUT_RD);
  errno = error;
  return -1;
}

int listen_and_join(int fd, int backlog) {
  Socket socket;
  Wish wish;
  if (describe(fd, socket) != 0) return real::listen(fd, backlog);
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (!find_listener_wish(fd, socket, endpoint, wish)) return real::listen(fd, backlog);
  if (!settings_accepted()) return -1;
  if (!live(fd, socket, endpoint) && defer_listen(fd, socket, backlog)) return 0;
  return listen_and_enter(fd, socket, endpoint, wish, backlog);
}

}  // namespace subset::shim
