// SPDX-License-Identifier: MIT
// A pre-forking server that never heard of SO_SUBSET: socket, bind, listen, fork; the workers
// wait for connections on the listener that they inherit, each in the way that it is told, and send
// their process number to each. The parent never accepts.
//
//   prefork_server --wait accept|poll|select|epoll|dup|early|datagrams|recv|... --workers N
//                  [--drop before|after] ADDRESS:PORT
//
// With `early` the parent puts the listener into the epoll set that its workers inherit.
// --drop before: it becomes nobody before it forks, --drop after: each worker does.
//
// With `datagrams` it is a UDP server, whose workers answer each with their process number. They
// wait by poll; with recv, recvfrom, recvmsg, recvmmsg, read or readv instead they only block in
// that call.
//
// A worker whose listener is not what its parent made (options, flags, number) ends with status 3,
// and so does the parent then.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr int kBuffer = 100000;
constexpr int kTypeOfService = 0x10;
constexpr int kKeepIdle = 123;
constexpr uid_t kNobody = 65534;

[[noreturn]] void die(const char* call) {
  std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
  std::_Exit(3);
}

void set(int fd, int level, int name, int value) {
  if (setsockopt(fd, level, name, &value, sizeof value) < 0) die("setsockopt");
}

int get(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(fd, level, name, &value, &length) < 0) die("getsockopt");
  return value;
}

int open_listener(const Address& address) {
  int fd = socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, SOL_SOCKET, SO_RCVBUF, kBuffer);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdle);
  set(fd, IPPROTO_IP, IP_TOS, kTypeOfService);
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  if (listen(fd, 77) < 0) die("listen");
  return fd;
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "the listener has lost %s\n", what);
  std::_Exit(3);
}

int backlog(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) die("TCP_INFO");
  return static_cast<int>(info.tcpi_sacked);
}

void check_listener(int fd) {
  check(get(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1, "its state");
  check(get(fd, SOL_SOCKET, SO_REUSEADDR) == 1, "SO_REUSEADDR");
  check(get(fd, SOL_SOCKET, SO_KEEPALIVE) == 1, "SO_KEEPALIVE");
  check(get(fd, SOL_SOCKET, SO_RCVBUF) == 2 * kBuffer, "SO_RCVBUF");
  check(get(fd, IPPROTO_TCP, TCP_KEEPIDLE) == kKeepIdle, "TCP_KEEPIDLE");
  check(get(fd, IPPROTO_IP, IP_TOS) == kTypeOfService, "IP_TOS");
  check(fcntl(fd, F_GETFL) & O_NONBLOCK, "O_NONBLOCK");
}

int accept_one(int listener) {
  int fd = accept(listener, nullptr, nullptr);
  if (fd < 0 && errno != EAGAIN) die("accept");
  return fd;
}

void await(const std::string& how, int listener, int set_of_epoll) {
  epoll_event event{};
  pollfd polled{listener, POLLIN, 0};
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(listener, &readable);
  if (how == "epoll" || how == "early") {
    epoll_wait(set_of_epoll, &event, 1, -1);
  } else if (how == "select") {
    select(listener + 1, &readable, nullptr, nullptr, nullptr);
  } else if (how == "accept") {
    usleep(2000);
  } else {
    poll(&polled, 1, -1);
  }
}

void add(int set_of_epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (epoll_ctl(set_of_epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

[[noreturn]] void work(const std::string& how, int listener, int set_of_epoll) {
  if (how == "dup") listener = dup(listener);
  if (how == "epoll") add(set_of_epoll, listener);
  for (bool first = true;; await(how, listener, set_of_epoll)) {
    int fd = accept_one(listener);
    if (first) {
      check_listener(listener);
      check(backlog(listener) == 77, "its backlog");
      check(how == "dup" || (fcntl(listener, F_GETFD) & FD_CLOEXEC), "FD_CLOEXEC");
      std::printf("worker\n");
      std::fflush(stdout);
    }
    first = false;
    if (fd < 0) continue;
    uint32_t pid = static_cast<uint32_t>(getpid());
    if (send(fd, &pid, sizeof pid, MSG_NOSIGNAL) < 0) die("send");
    close(fd);
  }
}

int open_receiver(const Address& address, bool blocking) {
  int fd = socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0) die("socket");
  set(fd, SOL_SOCKET, SO_RCVBUF, kBuffer);
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  return fd;
}

// Blocks until there is a datagram, and leaves it there; the calls that cannot leave it take
// nothing.
void await_datagram(const std::string& how, int fd) {
  char byte = 0;
  iovec part{&byte, sizeof byte};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &part;
  message.msg_hdr.msg_iovlen = 1;
  pollfd polled{fd, POLLIN, 0};
  if (how == "recv") recv(fd, &byte, sizeof byte, MSG_PEEK);
  if (how == "recvmsg") recvmsg(fd, &message.msg_hdr, MSG_PEEK);
  if (how == "recvmmsg") recvmmsg(fd, &message, 1, MSG_PEEK, nullptr);
  if (how == "read") (void)!read(fd, &byte, 0);
  if (how == "readv") (void)!readv(fd, &part, 0);
  if (how == "datagrams") poll(&polled, 1, -1);
}

[[noreturn]] void answer_datagrams(const std::string& how, int fd) {
  for (;;) {
    await_datagram(how, fd);
    check(get(fd, SOL_SOCKET, SO_RCVBUF) == 2 * kBuffer, "SO_RCVBUF");
    check(!(fcntl(fd, F_GETFL) & O_NONBLOCK) == (how != "datagrams"), "O_NONBLOCK");
    char datagram[64];
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    auto* from = reinterpret_cast<sockaddr*>(&peer);
    if (recvfrom(fd, datagram, sizeof datagram, 0, from, &length) < 0) continue;
    uint32_t pid = static_cast<uint32_t>(getpid());
    sendto(fd, &pid, sizeof pid, 0, from, length);
  }
}

void become_nobody() {
  if (setresuid(kNobody, kNobody, kNobody) < 0) die("setresuid");
}

struct Arguments {
  std::string how;
  std::string drop;
  int workers = 0;
  std::string address;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--wait" && i + 1 < argc) {
      arguments.how = argv[++i];
    } else if (word == "--workers" && i + 1 < argc) {
      arguments.workers = std::atoi(argv[++i]);
    } else if (word == "--drop" && i + 1 < argc) {
      arguments.drop = argv[++i];
    } else {
      arguments.address = word;
    }
  }
  return arguments;
}

int run(const Arguments& arguments) {
  const std::string& how = arguments.how;
  const Address address(arguments.address);
  const bool datagrams = how == "datagrams" || how.starts_with("re");
  int fd = datagrams ? open_receiver(address, how != "datagrams") : open_listener(address);
  if (!datagrams) check_listener(fd);
  const int set_of_epoll = epoll_create1(0);
  if (how == "early") add(set_of_epoll, fd);
  if (arguments.drop == "before") become_nobody();
  for (int i = 0; i < arguments.workers; i++) {
    if (fork() != 0) continue;
    if (arguments.drop == "after") become_nobody();
    if (datagrams) answer_datagrams(how, fd);
    work(how, fd, how == "early" ? set_of_epoll : epoll_create1(0));
  }
  std::puts("ready");
  std::fflush(stdout);
  int status = 0;
  while (wait(&status) > 0 && (!WIFEXITED(status) || WEXITSTATUS(status) == 0)) {
  }
  return 3;
}

}  // namespace
}  // namespace subset::test

int main(int argc, char** argv) {
  return subset::test::run(subset::test::parse(argc, argv));
}
