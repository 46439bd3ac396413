// SPDX-License-Identifier: MIT
#include "shim/adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim/join.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/sibling.h"
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

// It stays the service manager's: nothing here shuts it down, and it gets no sibling but for the
// moment in which it is let into a group of the kernel's.
void join_passed(int fd, const Socket& socket, const Endpoint& endpoint, const Wish& wish) {
  if (int_option(fd, SO_REUSEPORT) == 1) {
    (void)enter(fd, socket, endpoint, wish);
    return;
  }
  const int companion = form_group(fd, socket);
  if (companion < 0) {
    Line(LogLevel::Warn) << "the " << socket.protocol_name() << " socket of port "
                         << uint64_t{endpoint.port}
                         << " was passed on without SO_REUSEPORT and cannot get it now ("
                         << describe_error(errno)
                         << "): it is in no subset; set ReusePort=yes in its socket unit";
    return;
  }
  (void)enter(fd, socket, endpoint, wish);
  real::close(companion);
}

void adopt(int fd, const Socket& socket, bool passed) {
  Wish wish;
  const Endpoint endpoint = local_endpoint(fd, socket);
  if (!find_wish(socket, endpoint, wish)) return;
  if (!live(fd, socket, endpoint))
    defer_inherited(fd, socket);
  else if (passed)
    join_passed(fd, socket, endpoint, wish);
  else if (int_option(fd, SO_REUSEPORT) == 1 && !connected(fd))
    await_first_use(fd, socket);
}

}  // namespace

// Members that another image of this process registered, or its parent, are members still: the
// daemon knows them by cookie. A helper that was merely started with such a descriptor open is not
// to take it over: so what was not passed on purpose waits for its first use.
void adopt_inherited() {
  const Settings& settings = process.settings;
  if (!settings.given || process.refusal.variable) return;
  const int passed = passed_count();
  for (int fd = 0, closed = 0; closed < kClosedInARow; ++fd) {
    Socket socket;
    const int error = describe(fd, socket);
    closed = error == EBADF ? closed + 1 : 0;
    if (error == 0) adopt(fd, socket, fd >= kFirstPassed && fd - kFirstPassed < passed);
  }
}

}  // namespace subset::shim
