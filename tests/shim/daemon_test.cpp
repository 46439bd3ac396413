// SPDX-License-Identifier: MIT
// Daemons that are not there, do not answer, or lie: the server goes on, or fails as it asked to.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "protocol/policy.h"
#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;
using std::chrono::milliseconds;

namespace {

// A path with a socket that listens, and nobody who accepts.
class Deaf {
 public:
  explicit Deaf(int backlog) {
    address_.sun_family = AF_UNIX;
    strncpy(address_.sun_path, path().c_str(), sizeof address_.sun_path - 1);
    unlink(address_.sun_path);
    REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof address_) == 0);
    REQUIRE(listen(fd_, backlog) == 0);
  }
  ~Deaf() { close(fd_); }
  Deaf(const Deaf&) = delete;
  Deaf& operator=(const Deaf&) = delete;

  static std::string path() { return scratch() + "/deaf"; }

  int connect_one() const {
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0) return fd;
    close(fd);
    return -1;
  }

 private:
  int fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address_{};
};

// The time of one bind, in the probe's own words: the whole process took at least that.
long bind_ms(const Result& result) {
  REQUIRE_FALSE(result.out.empty());
  return stol(result.out.back().substr(strlen("ms ")));
}

Operations timed_bind() {
  return {"ms", "udp4", "bind,127.0.0.1," + free_port(), "ms"};
}

// A daemon that does `answer` leaves a server with a bound socket, and with one line that has
// `reason`; a server that must join gets ECONNREFUSED.
void check_useless(const FakeDaemon::Answer& answer, const std::string& reason) {
  FakeDaemon daemon(answer);
  const std::string port = free_port();
  const Operations operations = {"udp4", "bind,127.0.0.1," + port, "reuseport?",
                                 "tcp4", "bind,127.0.0.1," + port, "listen,5"};
  Environment environment = {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}};
  const Result open = preload(operations, environment);
  CHECK(open.said() == "bind ok | reuseport? 1 | bind ok | listen ok");
  CHECK(open.err == "subset: no daemon at " + daemon.path() + " (" + reason +
                        "): plain SO_REUSEPORT, the kernel's hash decides\n");
  environment["SUBSET_FALLBACK"] = "fail";
  const Result closed = preload(operations, environment);
  CHECK(closed.said() == "bind ECONNREFUSED | reuseport? 1 | bind ok | listen ECONNREFUSED");
  CHECK(closed.err.find("(" + reason + "): refused, as SUBSET_FALLBACK=fail asks\n") !=
        std::string::npos);
}

FakeDaemon::Answer send_wrong(void (*spoil)(subset::protocol::Reply&)) {
  subset::protocol::Reply reply;
  reply.total = 2;
  spoil(reply);
  return send_bytes(&reply, sizeof reply);
}

}  // namespace

TEST_CASE("no daemon: the kernel's hash, with one warning a process") {
  const std::string port = free_port();
  const Result result =
      preload({"many,20,127.0.0.1," + port, "tcp4", "bind,127.0.0.1," + port, "listen,5"},
              {{"SUBSET", "0/2"}});
  CHECK(result.said() == "many 20 | bind ok | listen ok");
  CHECK(result.err == "subset: no daemon at " + scratch() +
                          "/nobody (No such file or directory): plain SO_REUSEPORT, the kernel's "
                          "hash decides\n");
}

TEST_CASE("no daemon and SUBSET_FALLBACK=fail: ECONNREFUSED") {
  const std::string port = free_port();
  const Result result = preload({"udp4", "bind,127.0.0.1," + port, "tcp4", "bind,127.0.0.1," + port,
                                 "listen,5", "udp4", "declare,2,0", "bind,127.0.0.1,0"},
                                {{"SUBSET", "0/2"}, {"SUBSET_FALLBACK", "fail"}});
  CHECK(result.said() ==
        "bind ECONNREFUSED | bind ok | listen ECONNREFUSED | declare ok | bind ECONNREFUSED");
}

TEST_CASE("a socket path that was left behind, and one that may not be used") {
  { const Deaf gone(1); }
  const Operations operations = {"udp4", "bind,127.0.0.1," + free_port()};
  const Result refused = preload(operations, {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", Deaf::path()}});
  CHECK(refused.said() == "bind ok");
  CHECK(refused.err.find("(Connection refused)") != std::string::npos);
  const Result other = preload(operations, {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", "/dev/null"}});
  CHECK(other.said() == "bind ok");
}

TEST_CASE("no daemon in cpu mode: a classic program decides, and never one in its place") {
  const std::string port = free_port();
  const Operations operations = {"udp4", "bind,127.0.0.1," + port, "datagram"};
  const Result result = preload(operations, {{"SUBSET", "0/1"}, {"SUBSET_MODE", "cpu"}});
  CHECK(result.said() == "bind ok | datagram ok");
  CHECK(result.err.find("the CPU decides") != std::string::npos);
  CHECK(preload(operations, {{"SUBSET", "auto"}, {"SUBSET_MODE", "cpu"}}).said() ==
        "bind ok | datagram ok");
  { const Deaf gone(1); }
  const Result left = preload(
      operations, {{"SUBSET", "0/1"}, {"SUBSET_MODE", "cpu"}, {"SUBSET_SOCKET", Deaf::path()}});
  CHECK(left.err.find("the kernel's hash decides") != std::string::npos);
}

TEST_CASE("a daemon that does not accept, or whose backlog is full, costs one second") {
  const Deaf roomy(128);
  const Environment environment = {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", Deaf::path()}};
  const Result queued = preload(timed_bind(), environment);
  CHECK(queued.out.at(0) == "bind ok");
  CHECK(bind_ms(queued) >= 900);
  CHECK(bind_ms(queued) < 1900);
  CHECK(queued.err.find("(Connection timed out)") != std::string::npos);

  const Deaf full(0);
  std::vector<int> fillers;
  for (int fd = full.connect_one(); fd >= 0; fd = full.connect_one()) fillers.push_back(fd);
  REQUIRE_FALSE(fillers.empty());
  const Result refused = preload(timed_bind(), environment);
  CHECK(refused.out.at(0) == "bind ok");
  CHECK(bind_ms(refused) >= 900);
  CHECK(bind_ms(refused) < 1900);
  for (const int fd : fillers) close(fd);
}

TEST_CASE("a daemon that hangs costs a server of a thousand sockets one second, not a thousand") {
  const Deaf deaf(4096);
  const Result result = preload({"ms", "many,200,127.0.0.1," + free_port(), "ms"},
                                {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", Deaf::path()}});
  CHECK(result.out.at(0) == "many 200");
  CHECK(bind_ms(result) < 2500);
}

TEST_CASE("a daemon that hangs and SUBSET_FALLBACK=fail: ETIMEDOUT") {
  const Deaf deaf(128);
  const Result result =
      preload(timed_bind(),
              {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", Deaf::path()}, {"SUBSET_FALLBACK", "fail"}});
  CHECK(result.out.at(0) == "bind ETIMEDOUT");
  CHECK(bind_ms(result) < 1900);
}

TEST_CASE("a daemon that reads and then says nothing, with signals all the while") {
  FakeDaemon daemon([](int, const Seen&) { usleep(1'200'000); });
  const Result result =
      preload({"storm", "ms", "udp4", "bind,127.0.0.1," + free_port(), "ms", "calm"},
              {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.out.at(1) == "bind ok");
  const long ms = stol(result.out.at(2).substr(strlen("ms ")));
  CHECK(ms >= 900);
  CHECK(ms < 1900);
}

TEST_CASE("a storm of signals does not spoil a registration with a slow daemon") {
  FakeDaemon daemon([](int connection, const Seen& seen) {
    usleep(100'000);
    grant(connection, seen);
  });
  const Result result =
      preload({"storm", "udp4", "bind,127.0.0.1," + free_port(), "calm"},
              {{"SUBSET", "1/2"}, {"SUBSET_SOCKET", daemon.path()}, {"SUBSET_LOG", "info"}});
  CHECK(result.said() == "storm ok | bind ok | calm ok");
  CHECK(result.err.find("joined 1/2") != std::string::npos);
  CHECK(daemon.seen().size() == 1);
}

TEST_CASE("a daemon that hangs up") {
  check_useless([](int, const Seen&) {}, "Connection reset by peer");
}

TEST_CASE("replies that are no replies") {
  using subset::protocol::Kind;
  using subset::protocol::Reply;
  const char rubbish[Reply{}.header.size + 100] = "rubbish";
  const std::string reason = "Protocol error";
  Reply good;
  good.total = 2;
  check_useless(send_bytes(rubbish, 1), reason);
  check_useless(send_bytes(rubbish, sizeof good), reason);
  check_useless(send_bytes(rubbish, sizeof rubbish), reason);
  check_useless(send_bytes(&good, sizeof good - 1), reason);
  check_useless(send_bytes(&good, sizeof good.header), reason);
  check_useless(send_wrong([](Reply& reply) { reply.header.magic ^= 1; }), reason);
  check_useless(send_wrong([](Reply& reply) { ++reply.header.version; }), reason);
  check_useless(send_wrong([](Reply& reply) { reply.header.kind = Kind::Event; }), reason);
  check_useless(send_wrong([](Reply& reply) { reply.header.size -= 1; }), reason);
  check_useless(send_wrong([](Reply& reply) { reply.error = -1; }), reason);
}

TEST_CASE("a yes that assigns no instance is none") {
  const std::string reason = "Protocol error";
  check_useless(assign(2), reason);
  check_useless(assign(subset::kAnyInstance), reason);
  check_useless(send_wrong([](subset::protocol::Reply& reply) { reply.total = 0; }), reason);
  check_useless(send_wrong([](subset::protocol::Reply& reply) { reply.total = 4097; }), reason);
}

TEST_CASE("a daemon of another version, or without what is asked for, is no daemon") {
  check_useless(refuse(EPROTO, "version 2 is spoken here"), "version 2 is spoken here");
  check_useless(refuse(ENOTSUP, ""), "Operation not supported");
  check_useless(refuse(99999, ""), "an unknown error");
}

TEST_CASE("a text without an end, and with control characters, does no harm") {
  subset::protocol::Reply reply;
  reply.total = 2;
  memset(reply.text, '\n', sizeof reply.text);
  FakeDaemon daemon(send_bytes(&reply, sizeof reply));
  const Result result = preload({"udp4", "bind,127.0.0.1," + free_port()},
                                {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "bind ok");
  CHECK(result.err == "subset: " + std::string(sizeof reply.text - 1, '?') + "\n");
}

TEST_CASE("descriptors that a liar sends along are not kept") {
  FakeDaemon daemon([](int connection, const Seen&) {
    subset::protocol::Reply reply;
    reply.total = 2;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec part = {&reply, sizeof reply};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &connection, sizeof connection);
    sendmsg(connection, &message, MSG_NOSIGNAL);
  });
  const Result result =
      preload({"udp4", "descriptors", "bind,127.0.0.1," + free_port(), "descriptors"},
              {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  REQUIRE(result.out.size() == 3);
  CHECK(result.out[0] == result.out[2]);
}

TEST_CASE("a member that listens again while the daemon is away stays one") {
  std::atomic<int> requests{0};
  FakeDaemon daemon([&](int connection, const Seen& seen) {
    if (requests++ == 0) grant(connection, seen);
  });
  const Result result =
      preload({"tcp4", "bind,127.0.0.1," + free_port(), "listen,5", "listen,10"},
              {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}, {"SUBSET_FALLBACK", "fail"}});
  CHECK(result.said() == "bind ok | listen ok | listen ok");
  CHECK(requests == 2);
}
