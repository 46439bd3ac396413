// SPDX-License-Identifier: MIT
// SUBSET_VACANCY=hold: what the shim does with a socket that a daemon gives it, and with daemons
// that give none, another, or no answer. Whether the socket was taken shows in what is said next:
// one that was taken is a member already, and no registration follows.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;
using subset::protocol::Kind;

namespace {

class BoundSocket {
 public:
  BoundSocket(int type, const std::string& port) : fd_(socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(stoi(port)));
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    if (type == SOCK_STREAM) REQUIRE(listen(fd_, 5) == 0);
  }
  ~BoundSocket() { close(fd_); }
  BoundSocket(const BoundSocket&) = delete;
  BoundSocket& operator=(const BoundSocket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

void send_with(int connection, const subset::protocol::Reply& reply, const std::vector<int>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
  iovec part = {const_cast<subset::protocol::Reply*>(&reply), sizeof reply};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  sendmsg(connection, &message, MSG_NOSIGNAL);
}

// Answers who asks for a held socket by these descriptors, and grants what else is asked for.
FakeDaemon::Answer hand_over(std::vector<int> fds, int error = 0) {
  return [=](int connection, const Seen& seen) {
    if (seen.header.kind != Kind::Reclaim) return grant(connection, seen);
    subset::protocol::Reply reply;
    reply.error = error;
    reply.total = 2;
    send_with(connection, reply, fds);
  };
}

std::string kinds(const FakeDaemon& daemon) {
  std::string text;
  for (const Seen& seen : daemon.seen())
    text += seen.header.kind == Kind::Reclaim ? "reclaim " : "register ";
  return text;
}

Environment holding(const std::string& socket) {
  return {{"SUBSET", "0/2"}, {"SUBSET_VACANCY", "hold"}, {"SUBSET_SOCKET", socket}};
}

// As many descriptors as before: one is the server's, whatever socket it is now.
void check_bound(const Result& result) {
  REQUIRE(result.out.size() >= 3);
  CHECK(result.out.front() == result.out.back());
  CHECK(result.out.at(1) == "bind ok");
  CHECK(result.err == "");
}

// The server binds a socket of its own, and keeps no descriptor of what it was given.
void check_refused(const FakeDaemon::Answer& answer, const std::string& port) {
  FakeDaemon daemon(answer);
  check_bound(preload({"udp4", "descriptors", "bind,127.0.0.1," + port, "descriptors"},
                      holding(daemon.path())));
  CHECK(kinds(daemon) == "reclaim register ");
}

}  // namespace

TEST_CASE("a held UDP socket is taken instead of binding") {
  const std::string port = free_port();
  const BoundSocket held(SOCK_DGRAM, port);
  FakeDaemon daemon(hand_over({held.fd()}));
  check_bound(
      preload({"udp4", "descriptors", "bind,127.0.0.1," + port, "reuseport?", "descriptors"},
              holding(daemon.path())));
  CHECK(kinds(daemon) == "reclaim ");
}

TEST_CASE("a held listener is taken at bind, and registers when it listens") {
  const std::string port = free_port();
  const BoundSocket held(SOCK_STREAM, port);
  FakeDaemon daemon(hand_over({held.fd()}));
  check_bound(preload({"tcp4", "descriptors", "bind,127.0.0.1," + port, "listen,7", "descriptors"},
                      holding(daemon.path())));
  CHECK(kinds(daemon) == "reclaim register ");
  CHECK(daemon.seen().back().listening);
}

TEST_CASE("what was not asked for is closed, and the server binds") {
  const std::string port = free_port();
  const BoundSocket elsewhere(SOCK_DGRAM, free_port());
  const BoundSocket listener(SOCK_STREAM, port);
  const BoundSocket good(SOCK_DGRAM, port);
  check_refused(hand_over({elsewhere.fd()}), port);
  check_refused(hand_over({listener.fd()}), port);
  check_refused(hand_over({STDIN_FILENO}), port);
  check_refused(hand_over({good.fd()}, ENOENT), port);
  check_refused(hand_over({good.fd(), good.fd(), good.fd()}), port);
  const auto none = refuse(ENOENT, "none");
  check_refused(
      [&](int connection, const Seen& seen) {
        seen.header.kind == Kind::Reclaim ? none(connection, seen) : grant(connection, seen);
      },
      port);
}

TEST_CASE("another vacancy asks for nothing") {
  FakeDaemon daemon(grant);
  Environment environment = holding(daemon.path());
  environment["SUBSET_VACANCY"] = "spread";
  CHECK(preload({"udp4", "bind,127.0.0.1," + free_port()}, environment).said() == "bind ok");
  CHECK(kinds(daemon) == "register ");
}

TEST_CASE("a daemon that does not answer costs one second, also with hold") {
  FakeDaemon daemon([](int connection, const Seen&) {
    char byte = 0;
    (void)recv(connection, &byte, sizeof byte, 0);  // until the other end has had enough
  });
  const Operations operations = {"ms", "udp4", "bind,127.0.0.1," + free_port(), "ms"};
  Environment environment = holding(daemon.path());
  for (const char* fallback : {"kernel", "fail"}) {
    environment["SUBSET_FALLBACK"] = fallback;
    const Result result = preload(operations, environment);
    const long took = stol(result.out.back().substr(strlen("ms ")));
    CHECK(took >= 900);
    CHECK(took < 1900);
  }
}
