// SPDX-License-Identifier: MIT
// A TCP server that keeps one listener, and closes others at the same address:
//
//   closing_server ADDRESS:PORT STEP...
//
//   reopen:N   opens another listener, serves it for a moment, closes it; N times
//   copy       closes the one that it keeps, of which it has a duplicate
//   confined   opens another one, has itself killed for any message that it sends from then on, and
//              closes it
//
// A connection gets one byte and is closed. Says "done" after the last step, and serves on.
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/system/servers/address.h"
#include "tests/system/servers/confine.h"
#include "tests/system/servers/die.h"

namespace subset::test {
namespace {

using Clock = std::chrono::steady_clock;

int open_listener(const Address& address) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  if (listen(fd, SOMAXCONN) < 0) die("listen");
  return fd;
}

void answer(int connection) {
  (void)!send(connection, "x", 1, MSG_NOSIGNAL);
  close(connection);
}

void serve_until(int listener, Clock::time_point end) {
  pollfd polled{listener, POLLIN, 0};
  while (Clock::now() < end) {
    if (poll(&polled, 1, 1) <= 0) continue;
    if (const int connection = accept(listener, nullptr, nullptr); connection >= 0)
      answer(connection);
  }
}

void reopen(const Address& address, int times) {
  constexpr auto kMoment = std::chrono::milliseconds(2);
  for (int i = 0; i < times; i++) {
    const int listener = open_listener(address);
    serve_until(listener, Clock::now() + kMoment);
    if (close(listener) < 0) die("close");
  }
}

void take(const std::string& step, const Address& address, int first) {
  if (step.starts_with("reopen:")) {
    reopen(address, std::atoi(step.c_str() + 7));
  } else if (step == "copy") {
    if (close(first) < 0) die("close");
  } else if (step == "confined") {
    const int listener = open_listener(address);
    confine({SYS_sendmsg}, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);
    if (close(listener) < 0) die("close");
  } else {
    std::fprintf(stderr, "%s is no step\n", step.c_str());
    std::_Exit(2);
  }
}

}  // namespace
}  // namespace subset::test

int main(int argc, char** argv) {
  using namespace subset::test;
  const Address address(argv[1]);
  const int first = open_listener(address);
  const int kept = dup(first);
  std::thread serving([&] { serve_until(kept, Clock::time_point::max()); });
  (void)!write(STDOUT_FILENO, "ready\n", 6);
  for (int i = 2; i < argc; i++) take(argv[i], address, first);
  (void)!write(STDOUT_FILENO, "done\n", 5);
  serving.join();
}
