// SPDX-License-Identifier: MIT
// The server with real sockets on loopback, in one process with its clients: those that behave, and
// those that do not.
#include "daemon/http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

namespace subset::http {
namespace {

using namespace std::chrono_literals;

// Sends what is put into it.
struct Pipe {
  std::deque<std::string> lines;
  int streams = 0;
  bool ended = false;
};

class PipeStream final : public Stream {
 public:
  explicit PipeStream(Pipe& pipe) : pipe_(pipe) { pipe_.streams++; }
  PipeStream(const PipeStream&) = delete;
  PipeStream& operator=(const PipeStream&) = delete;
  ~PipeStream() override { pipe_.streams--; }

  std::optional<std::string> next() override {
    if (pipe_.lines.empty()) return pipe_.ended ? std::nullopt : std::optional<std::string>("");
    std::string line = std::move(pipe_.lines.front());
    pipe_.lines.pop_front();
    return line;
  }

 private:
  Pipe& pipe_;
};

struct Echo : Handler {
  Response get(const Request& request) override {
    asked++;
    if (request.path == "/throw") throw std::runtime_error("oh");
    Response response;
    if (request.path == "/stream") response.stream = std::make_unique<PipeStream>(pipe);
    if (request.path == "/kept") response.etag = "\"tag\"";
    if (request.path == "/large")
      response.body = Body(std::make_shared<const std::string>(64 << 20, 'x'));
    else
      response.body = Body(std::make_shared<const std::string>(std::string(request.path) + "?" +
                                                               std::string(request.query)));
    return response;
  }
  int asked = 0;
  Pipe pipe;
};

struct World {
  explicit World(Limits limits = {}, const std::string& host = "127.0.0.1") {
    auto made = Loop::create();
    REQUIRE(made);
    loop = std::move(*made);
    auto listening = listen_at({host, 0});
    REQUIRE(listening);
    auto served = Server::create(*loop, handler, std::move(*listening), limits);
    REQUIRE(served);
    server = std::move(*served);
  }

  bool until(const std::function<bool()>& done, Loop::Duration limit = 20s) {
    bool late = false;
    auto guard = loop->after(limit, [&] {
      late = true;
      loop->stop();
    });
    auto look = loop->every(1ms, [&] {
      if (done()) loop->stop();
    });
    REQUIRE(loop->run());
    return !late;
  }

  Echo handler;
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Server> server;
};

class Client {
 public:
  explicit Client(World& world, int receive_buffer = 0) : world_(world) {
    fd_ = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer > 0)
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(world.server->address().port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }

  void send(const std::string& bytes) {
    (void)!::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Reads what is there; false at the end.
  bool read() {
    char buffer[65536];
    for (;;) {
      const ssize_t got = recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
      if (got < 0) return true;
      text.append(buffer, static_cast<size_t>(got));
    }
  }
  bool says(const std::string& part) {
    return world_.until([&] {
      const bool open = read();
      return text.find(part) != std::string::npos || !open;
    }) && text.find(part) != std::string::npos;
  }
  bool ends() {
    return world_.until([&] { return !read(); });
  }

  std::string text;

 private:
  World& world_;
  Fd fd_;
};

std::string get(const std::string& path, const std::string& more = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + more + "\r\n";
}

TEST_CASE("requests on one connection are answered in turn") {
  World world;
  Client client(world);
  client.send(get("/one"));
  CHECK(client.says("/one?"));
  client.send(get("/two?recent"));
  CHECK(client.says("/two?recent"));
  CHECK(world.server->counters().connections == 1);
  CHECK(world.server->counters().responses.at(200) == 2);
}

TEST_CASE("paths are percent-decoded, and may come raw") {
  World world;
  Client client(world);
  client.send(get("/udp%2F%5B%3A%3A1%5D:53%401"));
  CHECK(client.says("/udp/[::1]:53@1?"));
  client.send(get("/tcp/[::1]:53@1"));
  CHECK(client.says("/tcp/[::1]:53@1?"));
}

TEST_CASE("each answer tells browsers to stay at home") {
  World world;
  Client client(world);
  client.send(get("/"));
  REQUIRE(client.says("/?"));
  for (const char* header :
       {"Content-Security-Policy: default-src 'self'", "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer", "Cache-Control: no-store"})
    CHECK_MESSAGE(client.text.find(header) != std::string::npos, header);
}

TEST_CASE("what is kept is not sent twice") {
  World world;
  Client client(world);
  client.send(get("/kept", "If-None-Match: \"tag\"\r\n"));
  CHECK(client.says("304 Not Modified"));
  client.send(get("/kept", "If-None-Match: \"other\"\r\n"));
  CHECK(client.says("200 OK"));
  CHECK(client.says("Cache-Control: no-cache"));
}

TEST_CASE("HEAD has the headers alone") {
  World world;
  Client client(world);
  client.send("HEAD /abc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  CHECK(client.ends());
  CHECK(client.text.find("Content-Length: 5") != std::string::npos);
  CHECK(client.text.ends_with("\r\n\r\n"));
}

TEST_CASE("nothing but GET and HEAD") {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"}) {
    CAPTURE(method);
    World world;
    Client client(world);
    client.send(std::string(method) + " / HTTP/1.1\r\nHost: ::\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(client.says("405 Method Not Allowed"));
    CHECK(client.says("Allow: GET, HEAD"));
    CHECK(world.handler.asked == 0);
  }
}

// A page elsewhere whose name was made to lead to 127.0.0.1 is served nothing. Where the daemon was
// told to be seen from elsewhere, it is called by whatever name it has there.
TEST_CASE("on the loopback only hosts that are an address or localhost") {
  const std::string evil = "GET / HTTP/1.1\r\nHost: evil.example:9753\r\n\r\n";
  World world;
  Client client(world);
  client.send(evil);
  CHECK(client.says("403 Forbidden"));
  CHECK(world.handler.asked == 0);
  World open({}, "0.0.0.0");
  Client other(open);
  other.send(evil);
  CHECK(other.says("200 OK"));
}

TEST_CASE("rubbish is refused, and nothing else notices") {
  for (const std::string& rubbish :
       {std::string("\r\n\r\n"), std::string("rubbish\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1000, '\0'),
        "GET / HTTP/1.1\r\nHost: 1\r\nX: " + std::string(100000, 'x')}) {
    World world;
    Client client(world);
    Client neighbour(world);
    client.send(rubbish);
    neighbour.send(get("/"));
    CHECK(neighbour.says("/?"));
    CHECK(world.handler.asked == 1);
  }
}

TEST_CASE("headers that are too large are refused") {
  World world;
  Client client(world);
  client.send(get("/", "X: " + std::string(64 * 1024, 'x') + "\r\n"));
  CHECK(client.ends());
  CHECK(world.handler.asked == 0);
}

TEST_CASE("an exception inside is a 500") {
  World world;
  Client client(world);
  client.send(get("/throw"));
  CHECK(client.says("500 Internal Server Error"));
}

TEST_CASE("beyond the limit connections wait for others to go") {
  World world({.connections = 2});
  auto first = std::make_unique<Client>(world);
  Client second(world);
  first->send(get("/1"));
  second.send(get("/2"));
  CHECK(first->says("/1?"));
  CHECK(second.says("/2?"));
  Client third(world);
  third.send(get("/3"));
  CHECK(!world.until([&] { return !third.read() || !third.text.empty(); }, 100ms));
  first.reset();
  CHECK(third.says("/3?"));
}

TEST_CASE("a request in drips is cut off, though something moves") {
  World world({.idle = 10s, .whole = 1s});
  Client client(world);
  client.send("GET / HTTP/1.1\r\n");
  const auto drip = world.loop->every(50ms, [&] { client.send("X: x\r\n"); });
  CHECK(client.ends());
  CHECK(world.server->counters().cut == 1);
  CHECK(world.handler.asked == 0);
}

TEST_CASE("an answer that is not read is cut off") {
  World world({.idle = 10s, .whole = 1s});
  Client client(world, 4096);
  client.send(get("/large"));
  CHECK(world.until([&] { return world.server->counters().cut == 1; }));
}

TEST_CASE("an idle connection is closed") {
  World world({.idle = 1s});
  Client client(world);
  CHECK(client.ends());
}

TEST_CASE("a stream is sent as it comes") {
  World world({.idle = 1s, .whole = 1s});
  Client client(world);
  client.send(get("/stream"));
  world.handler.pipe.lines = {"first\n"};
  CHECK(client.says("first\n"));
  world.handler.pipe.lines = {"second\n", std::string(100000, 'x'), "third\n"};
  world.server->wake_streams();
  CHECK(client.says("third\n"));
  // Neither limit of time is for streams.
  CHECK(!world.until([&] { return !client.read(); }, 2500ms));
  world.handler.pipe.ended = true;
  world.server->wake_streams();
  CHECK(client.says("0\r\n\r\n"));
  CHECK(world.handler.pipe.streams == 0);
}

TEST_CASE("streams are limited, and give their place back when their client goes") {
  World world({.streams = 1});
  auto first = std::make_unique<Client>(world);
  first->send(get("/stream"));
  CHECK(first->says("200 OK"));
  Client second(world);
  second.send(get("/stream"));
  CHECK(second.says("503 Service Unavailable"));
  CHECK(world.handler.pipe.streams == 1);
  first.reset();
  // It is noticed when something is sent: the first write makes the kernel answer, the second
  // fails.
  const auto talk = world.loop->every(10ms, [&] {
    world.handler.pipe.lines = {"x"};
    world.server->wake_streams();
  });
  CHECK(world.until([&] { return world.handler.pipe.streams == 0; }));
}

TEST_CASE("a stream that is not read is cut off") {
  World world({.idle = 1s});
  Client client(world, 4096);
  client.send(get("/stream"));
  const auto talk = world.loop->every(10ms, [&] {
    if (world.handler.pipe.lines.empty()) world.handler.pipe.lines = {std::string(1 << 20, 'x')};
    world.server->wake_streams();
  });
  REQUIRE(world.until([&] { return world.handler.pipe.streams == 1; }));
  CHECK(world.until([&] { return world.handler.pipe.streams == 0; }));
}

TEST_CASE("it ends with streams open and requests half sent") {
  World world;
  Client one(world);
  Client two(world);
  one.send(get("/stream"));
  two.send("GET / HT");
  CHECK(world.until([&] { return world.handler.pipe.streams == 1; }));
  world.server.reset();
  CHECK(world.handler.pipe.streams == 0);
}

TEST_CASE("descriptors come back") {
  World world;
  const int before = dup(0);
  close(before);
  for (int i = 0; i < 20; i++) {
    Client client(world);
    client.send(get("/x", "Connection: close\r\n"));
    CHECK(client.ends());
  }
  const int after = dup(0);
  close(after);
  CHECK(after == before);
}

}  // namespace
}  // namespace subset::http
