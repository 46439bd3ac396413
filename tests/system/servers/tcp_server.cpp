// SPDX-License-Identifier: MIT
// A TCP server that never heard of SO_SUBSET: socket, bind, listen, accept. It sends its id to
// every connection and closes it, or with --keep holds it open until the client goes. With
// --greeted it asks the kernel for connections only once their clients have spoken
// (TCP_DEFER_ACCEPT).
//
//   tcp_server --id N [--keep] [--greeted] [--backlog N] ADDRESS:PORT
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "tests/system/servers/address.h"
#include "tests/system/servers/die.h"

namespace subset::test {
namespace {

struct Arguments {
  uint32_t id = 0;
  int backlog = SOMAXCONN;
  bool keep = false;
  bool greeted = false;
  std::string address;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--id" && i + 1 < argc) {
      arguments.id = static_cast<uint32_t>(std::stoul(argv[++i]));
    } else if (word == "--backlog" && i + 1 < argc) {
      arguments.backlog = std::stoi(argv[++i]);
    } else if (word == "--keep") {
      arguments.keep = true;
    } else if (word == "--greeted") {
      arguments.greeted = true;
    } else {
      arguments.address = word;
    }
  }
  return arguments;
}

constexpr int kGreetingSeconds = 60;

int open_listener(const Address& address, const Arguments& arguments) {
  int fd = socket(address.family(), SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  if (arguments.greeted &&
      setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &kGreetingSeconds, sizeof kGreetingSeconds) < 0)
    die("setsockopt");
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  if (listen(fd, arguments.backlog) < 0) die("listen");
  return fd;
}

// The listener is polled[0]; every other descriptor is a connection that the client still holds.
void serve(int listener, const Arguments& arguments) {
  std::vector<pollfd> polled{{listener, POLLIN, 0}};
  while (poll(polled.data(), polled.size(), -1) > 0) {
    for (size_t i = 1; i < polled.size(); i++) {
      if (polled[i].revents == 0) continue;
      close(polled[i].fd);
      polled[i].fd = -1;
    }
    if (polled[0].revents & POLLIN) {
      int fd = accept(listener, nullptr, nullptr);
      if (fd < 0) continue;
      char greeting = 0;
      if (arguments.greeted && recv(fd, &greeting, sizeof greeting, 0) < 0) die("recv");
      const bool said =
          send(fd, &arguments.id, sizeof arguments.id, MSG_NOSIGNAL) == sizeof arguments.id;
      if (said && arguments.keep) {
        polled.push_back({fd, POLLIN, 0});
      } else {
        close(fd);
      }
    }
    std::erase_if(polled, [](const pollfd& one) { return one.fd < 0; });
  }
}

int run(const Arguments& arguments) {
  int listener = open_listener(Address(arguments.address), arguments);
  std::puts("ready");
  std::fflush(stdout);
  serve(listener, arguments);
  return 1;  // poll failed; a signal ends the process before
}

}  // namespace
}  // namespace subset::test

int main(int argc, char** argv) {
  try {
    return subset::test::run(subset::test::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tcp_server: %s\n", error.what());
    return 2;
  }
}
