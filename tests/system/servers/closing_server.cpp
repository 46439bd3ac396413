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
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const char* call) {
  std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
  std::_Exit(1);
}

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

void confine() {
  const sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), const_cast<sock_filter*>(program)};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) die("no_new_privs");
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0) die("seccomp");
}

void take(const std::string& step, const Address& address, int first) {
  if (step.starts_with("reopen:")) {
    reopen(address, std::atoi(step.c_str() + 7));
  } else if (step == "copy") {
    if (close(first) < 0) die("close");
  } else if (step == "confined") {
    const int listener = open_listener(address);
    confine();
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
