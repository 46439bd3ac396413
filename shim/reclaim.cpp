// SPDX-License-Identifier: MIT
#include "shim/reclaim.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shim/client.h"
#include "shim/fallback.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sibling.h"

namespace subset::shim {
namespace {

protocol::Reclaim question(const Socket& socket, const Endpoint& endpoint, const Wish& wish) {
  protocol::Reclaim message;
  message.wanted = wanted_of(socket, wish);
  memcpy(message.address, endpoint.address, sizeof message.address);
  message.scope = endpoint.scope;
  message.port = endpoint.port;
  return message;
}

// The daemon's word is good, and yet: a server must not end up with somebody else's socket.
bool is_what_was_asked(int held, const Socket& socket, const Endpoint& endpoint) {
  Socket other;
  if (describe(held, other) != 0 || other.family != socket.family ||
      other.protocol != socket.protocol)
    return false;
  const Endpoint bound = local_endpoint(held, other);
  return bound.port == endpoint.port &&
         !memcmp(bound.address, endpoint.address, sizeof bound.address) && live(held, other, bound);
}

bool take(int held, int fd, Socket& socket, const Endpoint& endpoint) {
  if (!is_what_was_asked(held, socket, endpoint)) {
    real::close(held);
    return false;
  }
  copy_options(fd, held);
  return put_in_place(held, fd) && describe(fd, socket) == 0;
}

}  // namespace

Reclaimed reclaim(int fd, Socket& socket, const Endpoint& endpoint, const Wish& wish) {
  const protocol::Reclaim message = question(socket, endpoint, wish);
  if (static_cast<Vacancy>(message.wanted.vacancy) != Vacancy::Hold || endpoint.port == 0)
    return Reclaimed::No;
  int held = -1;
  protocol::Reply reply;
  const int error = ask_for_socket(&message, sizeof message, fd, reply, held);
  // Who cannot do without the daemon need not wait for it a second time.
  if (error != 0 && process.settings.fallback == Fallback::Fail)
    return fall_back(fd, wish.total, {.error = error}) == 0 ? Reclaimed::No : Reclaimed::Refused;
  if (held < 0) return Reclaimed::No;
  if (!assigns(reply)) {
    real::close(held);
    return Reclaimed::No;
  }
  if (!take(held, fd, socket, endpoint)) return Reclaimed::No;
  Line(LogLevel::Info) << "took the socket that was held for " << uint64_t{reply.instance} << "/"
                       << uint64_t{reply.total};
  accept_reply(socket, endpoint, wish, reply);
  return Reclaimed::Yes;
}

}  // namespace subset::shim
