// SPDX-License-Identifier: MIT
#include "shim/adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim/join.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/socket.h"
#include "shim/spread.h"

namespace subset::shim {
namespace {

constexpr int kClosedInARow = 64;
constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START

int number_in(const char* name) {
  const char* value = getenv(name);
  return value ? atoi(value) : 0;
}

// How many descriptors a service manager passed to this very process, and not to one that it was
// forked from, or that executed it.
int passed_count() {
  return number_in("LISTEN_PID") == getpid() ? number_in("LISTEN_FDS") : 0;
}

// Without SO_REUSEPORT at bind the kernel never lets it share, and a socket that was inherited has
// been bound. It stays the service manager's: nothing here shuts it down.
void join_passed(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish) {
  if (int_option(fd, SO_REUSEPORT) == 1)
    (void)enter(fd, socket, endpoint, wish);
  else
    Line(LogLevel::Warn) << "the " << socket.protocol_name() << " socket of port "
                         << uint64_t{endpoint.port}
                         << " was passed on without SO_REUSEPORT (ReusePort=yes in its socket "
                            "unit): it is in no subset";
}

void adopt(int fd, const Socket& socket, bool passed) {
  Wish wish;
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (!find_wish(socket, endpoint, wish)) return;
  if (!live(fd, socket, endpoint))
    defer_inherited(fd, socket);
  else if (passed)
    join_passed(fd, socket, endpoint, wish);
}

}  // namespace

// Members that another image of this process registered are members still: the daemon knows them by
// cookie. Whoever else was started with such a descriptor open, a helper of the server, is not to
// take it over. So only what was passed on purpose joins.
void adopt_inherited() {
  const Settings& settings = process.settings;
  if (!settings.given || process.refusal.variable) return;
  const int passed = passed_count();
  if (passed == 0 && !(settings.spread & kSpreadFork)) return;
  for (int fd = 0, closed = 0; closed < kClosedInARow; ++fd) {
    Socket socket;
    const int error = describe(fd, socket);
    closed = error == EBADF ? closed + 1 : 0;
    if (error == 0) adopt(fd, socket, fd >= kFirstPassed && fd - kFirstPassed < passed);
  }
}

}  // namespace subset::shim
