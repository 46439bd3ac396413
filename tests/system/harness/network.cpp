// SPDX-License-Identifier: MIT
#include "tests/system/harness/network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <exception>
#include <thread>

#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

constexpr char kOwn[] = "/proc/thread-self/ns/net";

// Exceptions of the thread come out here.
void run_on_thread(const std::function<void()>& body) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      body();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

ino_t inode_of(int fd) {
  struct stat status {};
  checked(fstat(fd, &status), "stat a network namespace");
  return status.st_ino;
}

}  // namespace

void enter_new_network() {
  checked(unshare(CLONE_NEWNET), "make a network namespace (system tests need root)");
  Fd any(checked(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  checked(ioctl(any.get(), SIOCSIFFLAGS, &request), "bring lo up");
}

OtherNetwork::OtherNetwork() {
  run_on_thread([this] {
    enter_new_network();
    namespace_.reset(checked(open(kOwn, O_RDONLY | O_CLOEXEC), kOwn));
  });
}

ino_t OtherNetwork::inode() const {
  return inode_of(namespace_.get());
}

void OtherNetwork::run(const std::function<void()>& body) const {
  run_on_thread([&] {
    checked(setns(namespace_.get(), CLONE_NEWNET), "enter a network namespace");
    body();
  });
}

ino_t network_inode() {
  Fd own(checked(open(kOwn, O_RDONLY | O_CLOEXEC), kOwn));
  return inode_of(own.get());
}

}  // namespace subset::test
