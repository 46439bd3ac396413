// SPDX-License-Identifier: MIT
#include "tests/system/harness/fake_daemon.h"

#include <sys/socket.h>

#include <exception>
#include <utility>

namespace subset::test {

FakeDaemon::FakeDaemon(Machine& machine, Behaviour behaviour)
    : socket_(machine.file(machine.unique("fake"))),
      behaviour_(std::move(behaviour)),
      listener_(listen_at(socket_)),
      thread_([this] { work(); }) {}

// shutdown wakes the accept.
FakeDaemon::~FakeDaemon() {
  stopping_ = true;
  shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
}

void FakeDaemon::work() const {
  while (!stopping_) {
    Fd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer) continue;
    try {
      behaviour_(Connection(std::move(peer)));
    } catch (const std::exception&) {
      // The peer gave up on us, which is what it should do.
    }
  }
}

}  // namespace subset::test
