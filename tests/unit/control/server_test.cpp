// SPDX-License-Identifier: MIT
// The server with real sockets, in one process: peers that behave, and peers that do not.
#include "daemon/control/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

using namespace subset::control;
using namespace subset::protocol;
using subset::Fd;
using subset::Loop;
using namespace std::chrono_literals;

namespace {

// --- a daemon that answers

struct Recorder : Handler {
  void handle(Request request) override {
    ++handled;
    if (on_request) return on_request(std::move(request));
    Reply reply;
    if (auto* message = std::get_if<Register>(&request.message)) {
      reply.total = message->wanted.total;
      reply.instance = message->wanted.instance;
    }
    request.connection->reply(reply);
  }
  int handled = 0;
  std::function<void(Request)> on_request;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/subset-control-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::string command = "rm -rf " + path_;
    static_cast<void>(!std::system(command.c_str()));  // NOLINT(bugprone-command-processor)
  }
  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The limits of an ordinary user for root too, so that the tests say the same of both.
Limits plain_limits() {
  Limits limits;
  limits.waiting = 4096;  // peers connect here while the loop does not turn
  limits.root = limits.user;
  return limits;
}

struct World {
  explicit World(Limits limits = plain_limits()) {
    auto made = Loop::create();
    REQUIRE(made);
    loop = std::move(*made);
    auto listener = Listener::at_path(path);
    REQUIRE(listener);
    server = std::make_unique<Server>(*loop, handler, std::move(*listener), limits);
  }

  // Runs the daemon until this is so; false if that takes too long.
  bool until(const std::function<bool()>& done, Loop::Duration limit = 10s) {
    bool late = false;
    auto guard = loop->after(limit, [&] {
      late = true;
      loop->stop();
    });
    auto look = loop->every(200us, [&] {
      if (done()) loop->stop();
    });
    REQUIRE(loop->run());
    return !late;
  }
  void run_for(Loop::Duration duration) {
    auto timer = loop->after(duration, [&] { loop->stop(); });
    REQUIRE(loop->run());
  }

  TemporaryDirectory directory;
  std::string path = directory / "made/subsetd.sock";
  Recorder handler;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Server> server;
};

// --- a peer

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Fd connect_to(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  REQUIRE(socket);
  auto address = address_of(path);
  REQUIRE(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return socket;
}

std::vector<Fd> connect_many(const std::string& path, size_t count) {
  std::vector<Fd> sockets(count);
  for (Fd& socket : sockets) socket = connect_to(path);
  return sockets;
}

bool send_packet(int socket, const void* data, size_t size, const std::vector<int>& fds = {}) {
  iovec part{.iov_base = const_cast<void*>(data), .iov_len = size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
}

template <typename T>
bool send_message(const Fd& socket, const T& message, const std::vector<int>& fds = {}) {
  return send_packet(socket.get(), &message, sizeof message, fds);
}

template <typename T>
std::optional<T> receive(const Fd& socket, Fd* descriptor = nullptr) {
  T message;
  iovec part{.iov_base = &message, .iov_len = sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (recvmsg(socket.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof message) return {};
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights && descriptor) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    descriptor->reset(fd);
  }
  return message;
}

bool readable(const Fd& socket) {
  pollfd entry{.fd = socket.get(), .events = POLLIN, .revents = 0};
  return poll(&entry, 1, 0) > 0;
}

// Is it closed, with nothing left to read and no error?
bool ended(const Fd& socket) {
  char byte = 0;
  return recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

Fd udp_socket() {
  return Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

std::pair<Fd, Fd> connected_streams() {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(bind(listener.get(), any, size) == 0);
  REQUIRE(listen(listener.get(), 1) == 0);
  REQUIRE(getsockname(listener.get(), any, &size) == 0);
  Fd one(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(connect(one.get(), any, size) == 0);
  Fd other(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(other);
  return {std::move(one), std::move(other)};
}

Register good_register() {
  Register message;
  message.wanted.lineage = 7;
  message.wanted.total = 8;
  message.wanted.instance = 3;
  message.wanted.weight = 100;
  return message;
}

size_t open_descriptors() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  REQUIRE(directory != nullptr);
  while (readdir(directory)) ++count;
  closedir(directory);
  return count;
}

// Sends this and expects to be refused with that errno, and disconnected, and nothing left open.
void check_refused(World& world, int error, const void* data, size_t size,
                   const std::vector<int>& fds) {
  size_t before = open_descriptors();
  int handled = world.handler.handled;
  {
    Fd peer = connect_to(world.path);
    REQUIRE(send_packet(peer.get(), data, size, fds));
    REQUIRE(world.until([&] { return readable(peer); }));
    auto reply = receive<Reply>(peer);
    REQUIRE(reply);
    CHECK(reply->header.kind == Kind::Reply);
    CHECK(reply->error == error);
    CHECK(reply->text[0] != '\0');
    CHECK(world.until([&] { return ended(peer); }));
  }
  CHECK(world.handler.handled == handled);
  CHECK(world.server->connections() == 0);
  // Strangers' descriptors are closed by a worker.
  CHECK(world.until([&] { return open_descriptors() == before; }));
}

template <typename T>
void check_refused(World& world, int error, const T& message, const std::vector<int>& fds) {
  check_refused(world, error, &message, sizeof message, fds);
}

}  // namespace

// --- good peers

TEST_CASE("a registration reaches the handler with its socket and its peer, and is answered") {
  World world;
  Fd socket = udp_socket();
  struct stat sent {};
  REQUIRE(fstat(socket.get(), &sent) == 0);
  world.handler.on_request = [&](Request request) {
    struct stat came {};
    REQUIRE(fstat(request.socket.get(), &came) == 0);
    CHECK(came.st_ino == sent.st_ino);
    CHECK((fcntl(request.socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(request.peer.pid == getpid());
    CHECK(request.peer.uid == getuid());
    CHECK(request.peer.gid == getgid());
    CHECK(request.connection->open());
    CHECK(std::get<Register>(request.message).wanted.instance == 3);
    request.connection->reply({.instance = 3, .member = 1});
  };
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, good_register(), {socket.get()}));
  REQUIRE(world.until([&] { return readable(peer); }));
  auto reply = receive<Reply>(peer);
  REQUIRE(reply);
  CHECK(reply->error == 0);
  CHECK(reply->member == 1);
}

TEST_CASE("several requests on one connection are answered in their order") {
  World world;
  Fd socket = udp_socket();
  Fd peer = connect_to(world.path);
  for (uint32_t i = 0; i < 40; ++i) {
    auto message = good_register();
    message.wanted.total = 40;
    message.wanted.instance = i;
    REQUIRE(send_message(peer, message, {socket.get()}));
  }
  REQUIRE(world.until([&] { return world.handler.handled == 40; }));
  for (uint32_t i = 0; i < 40; ++i) {
    auto reply = receive<Reply>(peer);
    REQUIRE(reply);
    CHECK(reply->instance == i);
  }
  CHECK(world.server->connections() == 1);
}

TEST_CASE("requests of a peer that did not wait for the answers are handled all the same") {
  size_t before = open_descriptors();
  {
    World world;
    bool opened = true;
    world.handler.on_request = [&](Request request) {
      CHECK(request.socket);
      opened = request.connection->open();
      request.connection->reply({});
    };
    {
      Fd socket = udp_socket();
      Fd peer = connect_to(world.path);
      for (int i = 0; i < 20; ++i) REQUIRE(send_message(peer, good_register(), {socket.get()}));
    }
    CHECK(world.until([&] { return world.handler.handled == 20; }));
    CHECK_FALSE(opened);
    CHECK(world.until([&] { return world.server->connections() == 0; }));
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a peer that goes over an unread answer does not take its later requests with it") {
  World world;
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Status{}));
  REQUIRE(world.until([&] { return world.handler.handled == 1; }));
  REQUIRE(send_message(peer, Status{}));
  peer.reset();
  CHECK(world.until([&] { return world.handler.handled == 2; }));
  CHECK(world.until([&] { return world.server->connections() == 0; }));
}

TEST_CASE("a document comes sealed, whole, and read from its start") {
  World world;
  std::string text(300000, 'j');
  text += "end";
  world.handler.on_request = [&](Request request) { request.connection->document(text); };
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Status{}));
  REQUIRE(world.until([&] { return readable(peer); }));
  Fd memory;
  auto document = receive<Document>(peer, &memory);
  REQUIRE(document);
  CHECK(document->bytes == text.size());
  REQUIRE(memory);
  std::string got(text.size() + 1, '\0');
  ssize_t count = read(memory.get(), got.data(), got.size());
  REQUIRE(count == static_cast<ssize_t>(text.size()));
  got.resize(text.size());
  CHECK(got == text);
  int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  CHECK((fcntl(memory.get(), F_GET_SEALS) & seals) == seals);
  CHECK(write(memory.get(), "x", 1) < 0);
}

TEST_CASE("an empty document is a document") {
  World world;
  world.handler.on_request = [](Request request) { request.connection->document(""); };
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Status{}));
  REQUIRE(world.until([&] { return readable(peer); }));
  Fd memory;
  auto document = receive<Document>(peer, &memory);
  REQUIRE(document);
  CHECK(document->bytes == 0);
  CHECK(memory);
}

TEST_CASE("a follower stays beyond the idle time and gets events; others are cut") {
  auto limits = plain_limits();
  limits.idle = 100ms;
  World world(limits);
  std::shared_ptr<Connection> kept;
  world.handler.on_request = [&](Request request) { kept = std::move(request.connection); };
  Fd follower = connect_to(world.path);
  REQUIRE(send_message(follower, Follow{}));
  Fd silent = connect_to(world.path);
  REQUIRE(world.until([&] { return ended(silent); }));
  world.run_for(200ms);
  CHECK(world.server->connections() == 1);
  REQUIRE(kept);
  CHECK(kept->open());
  Event event;
  std::strcpy(event.json, "{}");
  kept->event(event);
  auto got = receive<Event>(follower);
  REQUIRE(got);
  CHECK(std::string(got->json) == "{}");
  SUBCASE("it hangs up") {
    follower.reset();
    CHECK_FALSE(kept->open());
    CHECK(world.until([&] { return world.server->connections() == 0; }));
    kept->event(event);
    CHECK_FALSE(kept->open());
  }
  SUBCASE("the handler lets go of it: it is idle from then on") {
    kept.reset();
    CHECK(world.until([&] { return ended(follower); }));
    CHECK(world.server->counters().idle == 2);
  }
}

TEST_CASE("a follower that does not read is cut off; a burst is no reason yet") {
  World world;
  std::shared_ptr<Connection> kept;
  world.handler.on_request = [&](Request request) { kept = std::move(request.connection); };
  Fd follower = connect_to(world.path);
  REQUIRE(send_message(follower, Follow{}));
  REQUIRE(world.until([&] { return kept != nullptr; }));
  int sent = 0;
  for (; sent < 100000 && kept->open(); ++sent) kept->event({});
  CHECK(sent > 150);
  CHECK(sent < 100000);
  CHECK(world.until([&] { return world.server->connections() == 0; }));
}

TEST_CASE("a peer that asks for documents and does not read them is cut off") {
  World world;
  world.handler.on_request = [](Request request) { request.connection->document("{}"); };
  size_t before = open_descriptors();
  Fd peer = connect_to(world.path);
  int sent = 0;
  while (sent < 100 && send_message(peer, Status{})) ++sent;
  CHECK(world.until([&] { return world.server->connections() == 0; }));
  CHECK(world.handler.handled > 2);
  CHECK(world.handler.handled < 40);
  peer.reset();
  CHECK(world.until([&] { return open_descriptors() == before; }));
}

TEST_CASE("a connection answers nobody once the server has gone") {
  World world;
  std::shared_ptr<Connection> kept;
  world.handler.on_request = [&](Request request) { kept = std::move(request.connection); };
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Follow{}));
  REQUIRE(world.until([&] { return kept != nullptr; }));
  world.server.reset();
  CHECK(ended(peer));
  CHECK_FALSE(kept->open());
  kept->reply({});
  kept->document("{}");
  kept->event({});
}

TEST_CASE("a request that is never answered leaks nothing") {
  size_t before = open_descriptors();
  {
    auto limits = plain_limits();
    limits.idle = 50ms;
    World world(limits);
    world.handler.on_request = [](Request) {};
    Fd socket = udp_socket();
    Fd peer = connect_to(world.path);
    REQUIRE(send_message(peer, good_register(), {socket.get()}));
    CHECK(world.until([&] { return ended(peer); }));
  }
  CHECK(open_descriptors() == before);
}

// --- bad peers

TEST_CASE("malformed messages are refused, and nothing of them stays") {
  World world;
  Fd socket = udp_socket();
  auto message = good_register();
  std::vector<int> one{socket.get()};

  SUBCASE("truncated") {
    check_refused(world, EPROTO, &message, sizeof message - 1, one);
  }
  SUBCASE("a header alone") {
    check_refused(world, EPROTO, &message, sizeof(Header), one);
  }
  SUBCASE("less than a header") {
    check_refused(world, EPROTO, &message, 3, {});
  }
  SUBCASE("empty") {
    check_refused(world, EPROTO, &message, 0, {});
  }
  SUBCASE("empty, with a descriptor") {
    check_refused(world, EPROTO, &message, 0, one);
  }
  SUBCASE("oversized") {
    std::array<char, 4096> large{};
    std::memcpy(large.data(), &message, sizeof message);
    check_refused(world, EPROTO, large.data(), large.size(), one);
    check_refused(world, EPROTO, large.data(), kMaxMessage, one);
    check_refused(world, EPROTO, large.data(), kMaxMessage + 1, one);
  }
  SUBCASE("huge") {
    std::vector<char> huge(150000);
    check_refused(world, EPROTO, huge.data(), huge.size(), {});
  }
  SUBCASE("of another version") {
    ++message.header.version;
    check_refused(world, EPROTO, message, one);
  }
  SUBCASE("without a descriptor") {
    check_refused(world, EPROTO, message, {});
  }
  SUBCASE("with two") {
    check_refused(world, EPROTO, message, {socket.get(), socket.get()});
  }
  SUBCASE("with 200") {
    check_refused(world, EPROTO, message, std::vector<int>(200, socket.get()));
  }
  SUBCASE("with as many as the kernel lets through") {
    check_refused(world, EPROTO, message, std::vector<int>(253, socket.get()));
  }
  SUBCASE("with a descriptor where none belongs") {
    check_refused(world, EPROTO, Status{}, one);
  }
  SUBCASE("of a kind that only the daemon sends") {
    check_refused(world, EPROTO, Reply{}, {});
  }
  SUBCASE("out of range") {
    message.wanted.instance = message.wanted.total;
    check_refused(world, EINVAL, message, one);
  }
  CHECK(world.server->counters().malformed > 0);
}

TEST_CASE("descriptors that are no socket of a member's kind are refused") {
  World world;
  auto message = good_register();
  SUBCASE("a file") {
    Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
    check_refused(world, ENOTSOCK, message, {file.get()});
  }
  SUBCASE("a path") {
    Fd path(open("/", O_PATH | O_CLOEXEC));
    check_refused(world, EBADF, message, {path.get()});
  }
  SUBCASE("another family") {
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    check_refused(world, EOPNOTSUPP, message, {socket.get()});
  }
  SUBCASE("a connected stream") {
    auto [stream, other_end] = connected_streams();
    check_refused(world, EOPNOTSUPP, message, {stream.get()});
  }
}

TEST_CASE("a descriptor whose last close waits does not keep the daemon") {
  World world;
  auto [stream, other_end] = connected_streams();
  std::vector<char> data(65536);
  while (send(stream.get(), data.data(), data.size(), MSG_DONTWAIT) > 0) {
  }
  linger wait{.l_onoff = 1, .l_linger = 20};
  REQUIRE(setsockopt(stream.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof wait) == 0);
  std::vector<int> sent;
  SUBCASE("where it is refused for its kind") {
    sent = {stream.get()};
  }
  SUBCASE("where it is one too many") {
    sent = {stream.get(), stream.get()};
  }
  SUBCASE("where it is one of many") {
    sent.assign(253, stream.get());
  }
  int packets = 1;
  SUBCASE("where it waits behind a malformed one") {
    sent = {stream.get()};
    packets = 3;
  }
  Fd bad = connect_to(world.path);
  for (int i = 0; i < packets; ++i) REQUIRE(send_message(bad, good_register(), sent));
  stream.reset();
  auto start = std::chrono::steady_clock::now();
  REQUIRE(world.until([&] { return readable(bad); }));
  Fd good = connect_to(world.path);
  REQUIRE(send_message(good, Status{}));
  CHECK(world.until([&] { return world.handler.handled == 1; }));
  CHECK(std::chrono::steady_clock::now() - start < 5s);
  other_end.reset();  // the close ends
}

TEST_CASE("listening TCP sockets go through, of both families") {
  World world;
  for (int family : {AF_INET, AF_INET6}) {
    Fd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener) continue;  // no IPv6 here
    REQUIRE(listen(listener.get(), 1) == 0);
    Fd peer = connect_to(world.path);
    REQUIRE(send_message(peer, good_register(), {listener.get()}));
    REQUIRE(world.until([&] { return readable(peer); }));
    auto reply = receive<Reply>(peer);
    REQUIRE(reply);
    CHECK(reply->error == 0);
  }
}

TEST_CASE("what a malformed message has behind it in the queue does not hide the answer") {
  World world;
  Fd socket = udp_socket();
  size_t before = open_descriptors();
  int queued = 0;
  SUBCASE("a few") {
    queued = 5;
  }
  SUBCASE("many") {
    queued = 100;
  }
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Reply{}));
  for (int i = 0; i < queued; ++i) REQUIRE(send_message(peer, good_register(), {socket.get()}));
  REQUIRE(world.until([&] { return readable(peer); }));
  auto reply = receive<Reply>(peer);
  if (!reply) reply = receive<Reply>(peer);  // ECONNRESET came first: only where it left too much
  if (queued == 5) CHECK(world.server->counters().malformed == 1);
  REQUIRE(reply);
  CHECK(reply->error == EPROTO);
  CHECK(world.handler.handled == 0);
  peer.reset();
  CHECK(world.until([&] { return open_descriptors() == before; }));
}

TEST_CASE("a flood is refused when the bucket is empty, and the others are served") {
  auto limits = plain_limits();
  limits.user.requests_per_second = limits.root.requests_per_second = 1;
  limits.user.burst = limits.root.burst = 50;
  World world(limits);
  Fd peer = connect_to(world.path);
  int sent = 0;
  while (sent < 60 && send_message(peer, Status{})) ++sent;
  REQUIRE(world.until([&] { return world.server->connections() == 0; }));
  CHECK(world.handler.handled == 50);
  int answered = 0;
  std::optional<Reply> last;
  while (auto reply = receive<Reply>(peer)) {
    last = reply;
    if (reply->error == 0) ++answered;
  }
  CHECK(answered == 50);
  REQUIRE(last);
  CHECK(last->error == EAGAIN);
  CHECK(world.server->counters().refused == 1);
}

TEST_CASE("one peer's packets do not keep another from its turn") {
  World world;
  int turn = 0;
  int quiet_turn = 0;
  world.handler.on_request = [&](Request request) {
    ++turn;
    if (std::holds_alternative<Follow>(request.message)) quiet_turn = turn;
  };
  Fd loud = connect_to(world.path);
  while (send_message(loud, Status{})) {
  }
  Fd quiet = connect_to(world.path);
  REQUIRE(send_message(quiet, Follow{}));
  REQUIRE(world.until([&] { return quiet_turn != 0; }));
  CHECK(quiet_turn <= 40);
}

TEST_CASE("silent and slow peers are cut after the idle time, not before") {
  auto limits = plain_limits();
  limits.idle = 200ms;
  World world(limits);
  auto start = std::chrono::steady_clock::now();
  auto silent = connect_many(world.path, 20);
  Fd busy = connect_to(world.path);
  auto chatter = world.loop->every(50ms, [&] {
    send_message(busy, Status{});
    receive<Reply>(busy);
  });
  auto all_ended = [&] { return std::all_of(silent.begin(), silent.end(), ended); };
  CHECK(world.until(all_ended));
  CHECK(std::chrono::steady_clock::now() - start >= 200ms);
  CHECK(world.server->connections() == 1);
  CHECK(world.server->counters().idle == 20);
}

TEST_CASE("beyond its limit a user is told so; when one goes, another gets in") {
  auto limits = plain_limits();
  limits.user.connections = limits.root.connections = 5;
  World world(limits);
  auto peers = connect_many(world.path, 5);
  Fd sixth = connect_to(world.path);
  REQUIRE(send_message(sixth, Status{}));
  REQUIRE(world.until([&] { return readable(sixth); }));
  auto reply = receive<Reply>(sixth);
  REQUIRE(reply);
  CHECK(reply->error == EAGAIN);
  CHECK(world.until([&] { return ended(sixth); }));
  CHECK(world.handler.handled == 0);
  peers.pop_back();
  CHECK(world.until([&] { return world.server->connections() == 4; }));
  Fd seventh = connect_to(world.path);
  REQUIRE(send_message(seventh, Status{}));
  CHECK(world.until([&] { return world.handler.handled == 1; }));
}

TEST_CASE("1000 connections at once, each answered; none stays") {
  size_t before = open_descriptors();
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  {
    auto limits = plain_limits();
    limits.user.connections = limits.root.connections = 1000;
    World world(limits);
    std::vector<Fd> peers;
    for (int i = 0; i < 1000; ++i) {
      peers.push_back(connect_to(world.path));
      REQUIRE(send_message(peers.back(), Status{}));
    }
    REQUIRE(world.until([&] { return world.handler.handled == 1000; }));
    CHECK(world.server->connections() == 1000);
    for (auto& peer : peers) {
      auto reply = receive<Reply>(peer);
      REQUIRE(reply);
      CHECK(reply->error == 0);
    }
    peers.clear();
    CHECK(world.until([&] { return world.server->connections() == 0; }));
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("connections that come and go by the thousand leave nothing") {
  World world;
  Fd socket = udp_socket();
  size_t before = open_descriptors();
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 50; ++i) {
      Fd peer = connect_to(world.path);
      if (i % 3 == 0) send_message(peer, good_register(), {socket.get(), socket.get()});
      if (i % 3 == 1) send_message(peer, good_register(), {socket.get()});
    }
    auto accepted = static_cast<uint64_t>(round + 1) * 50;
    REQUIRE(world.until([&] {
      return world.server->counters().connections == accepted && world.server->connections() == 0;
    }));
  }
  CHECK(world.until([&] { return open_descriptors() == before; }));
}

TEST_CASE("out of descriptors, accepting pauses, then goes on") {
  World world;
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Status{}));
  rlimit files{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
  std::vector<Fd> hoard;
  rlimit few = files;
  few.rlim_cur = 200;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
  for (int fd = dup(0); fd >= 0; fd = dup(0)) hoard.emplace_back(fd);
  timespec cpu_before{};
  timespec cpu_after{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_before);
  auto timer = world.loop->after(300ms, [&] { world.loop->stop(); });
  REQUIRE(world.loop->run());
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu_after);
  CHECK(world.server->connections() == 0);
  auto cpu = std::chrono::seconds(cpu_after.tv_sec - cpu_before.tv_sec) +
             std::chrono::nanoseconds(cpu_after.tv_nsec - cpu_before.tv_nsec);
  CHECK(cpu < 100ms);
  hoard.clear();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0);
  CHECK(world.until([&] { return world.handler.handled == 1; }));
}

// --- the socket's file

TEST_CASE("the socket and its directory are open to everybody, whatever the umask") {
  mode_t old = umask(077);
  World world;
  umask(old);
  struct stat status {};
  REQUIRE(stat(world.path.c_str(), &status) == 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK((status.st_mode & 0777) == 0666);
  REQUIRE(stat((world.directory / "made").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0755);
}

TEST_CASE("the socket's file goes with the server, and its lock too") {
  World world;
  world.server.reset();
  struct stat status {};
  CHECK(stat(world.path.c_str(), &status) < 0);
  CHECK(stat((world.path + ".lock").c_str(), &status) < 0);
}

TEST_CASE("a file that has become somebody else's stays") {
  World world;
  REQUIRE(unlink(world.path.c_str()) == 0);
  Fd other(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  auto address = address_of(world.path);
  REQUIRE(bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  world.server.reset();
  struct stat status {};
  CHECK(stat(world.path.c_str(), &status) == 0);
}

TEST_CASE("a second daemon on one path is told so") {
  World world;
  auto second = Listener::at_path(world.path);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == EADDRINUSE);
  CHECK(second.error().context.find(world.path) != std::string::npos);
  // The first one has lost nothing by it.
  Fd peer = connect_to(world.path);
  REQUIRE(send_message(peer, Status{}));
  CHECK(world.until([&] { return world.handler.handled == 1; }));
  // Nor may there be two where somebody removed the first one's file.
  REQUIRE(unlink(world.path.c_str()) == 0);
  CHECK_FALSE(Listener::at_path(world.path));
}

TEST_CASE("a listener that does not know of the lock is not pushed aside") {
  TemporaryDirectory directory;
  std::string path = directory / "s";
  auto address = address_of(path);
  int type = SOCK_SEQPACKET;
  SUBCASE("of our type") {}
  SUBCASE("of another") {
    type = SOCK_STREAM;
  }
  Fd other(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  REQUIRE(bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(other.get(), 1) == 0);
  auto listener = Listener::at_path(path);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().code == EADDRINUSE);
  CHECK(listener.error().context.find(path) != std::string::npos);
}

TEST_CASE("a stale socket is replaced, with a stale lock beside it") {
  TemporaryDirectory directory;
  std::string path = directory / "s";
  {
    Fd dead(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    auto address = address_of(path);
    REQUIRE(bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(dead.get(), 1) == 0);
    Fd lock(open((path + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  }
  REQUIRE(Listener::at_path(path));
}

TEST_CASE("a path that is no socket is left alone") {
  TemporaryDirectory directory;
  std::string path = directory / "s";
  Fd file(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  auto listener = Listener::at_path(path);
  REQUIRE_FALSE(listener);
  CHECK(listener.error().code == ENOTSOCK);
  struct stat status {};
  CHECK(stat(path.c_str(), &status) == 0);
}

TEST_CASE("paths that cannot be are said so") {
  TemporaryDirectory directory;
  auto code_of = [](const std::string& path) {
    auto listener = Listener::at_path(path);
    return listener ? 0 : listener.error().code;
  };
  CHECK(code_of("") == ENAMETOOLONG);
  CHECK(code_of(directory / std::string(120, 'x').c_str()) == ENAMETOOLONG);
  CHECK(code_of(directory / "no/such/place") == ENOENT);
}

TEST_CASE("where the socket cannot be made, the error says what to do") {
  TemporaryDirectory directory;
  auto error_of = [](const std::string& path) {
    auto listener = Listener::at_path(path);
    return listener ? "" : listener.error().message();
  };
  auto ends_with_remedy = [](const std::string& error) {
    return error.find("--socket") != std::string::npos;
  };
  CHECK(ends_with_remedy(error_of(directory / "no/such/place")));
  CHECK(ends_with_remedy(error_of("/proc/subset-test/s")));  // where nobody makes directories
  Fd file(open((directory / "file").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  CHECK(ends_with_remedy(error_of(directory / "file")));
  CHECK(ends_with_remedy(error_of(directory / "file/s")));
  auto first = Listener::at_path(directory / "s");
  CHECK(ends_with_remedy(error_of(directory / "s")));
}

TEST_CASE("a listener that is handed over: what waited in its queue is served") {
  World world;
  std::string path = world.directory / "handed";
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  auto address = address_of(path);
  REQUIRE(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(socket.get(), 16) == 0);
  int on = 1;
  REQUIRE(setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
  Fd kept(dup(socket.get()));
  Fd udp = udp_socket();
  {
    Fd gone = connect_to(path);
    REQUIRE(send_message(gone, good_register(), {udp.get()}));
  }
  Fd waits = connect_to(path);
  REQUIRE(send_message(waits, good_register(), {udp.get()}));

  auto listener = Listener::adopt(std::move(socket));
  REQUIRE(listener);
  auto server =
      std::make_unique<Server>(*world.loop, world.handler, std::move(*listener), plain_limits());
  CHECK(world.until([&] { return world.handler.handled == 2; }));
  CHECK(receive<Reply>(waits));
  server.reset();
  struct stat status {};
  CHECK(stat(path.c_str(), &status) == 0);
  Fd later = connect_to(path);  // whoever keeps it goes on queueing
}

TEST_CASE("only a listening SOCK_SEQPACKET socket can be handed over") {
  CHECK_FALSE(Listener::adopt(udp_socket()));
  CHECK_FALSE(Listener::adopt(Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0))));
  CHECK_FALSE(Listener::adopt(Fd(open("/dev/null", O_RDONLY | O_CLOEXEC))));
  CHECK_FALSE(Listener::adopt(Fd()));
}

TEST_CASE("text of a reply is cut to fit and terminated") {
  auto reply = reply_with(EPERM, std::string(1000, 'x'));
  CHECK(reply.error == EPERM);
  CHECK(std::strlen(reply.text) == sizeof reply.text - 1);
}
