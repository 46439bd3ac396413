// SPDX-License-Identifier: MIT
// The HTTP server: libmicrohttpd inside the daemon's loop, without a thread of its own. Reads
// requests, keeps to limits, and hands GETs to the Handler. From its making to its destruction in
// the Loop; it may not be destroyed inside Handler::get.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "daemon/http/address.h"
#include "daemon/loop/loop.h"

namespace subset::http {

struct Request {
  std::string_view path;   // percent-decoded
  std::string_view query;  // the name of the first argument; empty: none
  std::string_view host;   // empty: none was sent
  std::string_view if_none_match;
  std::string_view last_event_id;
};

// What is sent piece by piece, for as long as the client reads.
class Stream {
 public:
  virtual ~Stream() = default;
  // What there is to send now; "" for nothing yet: it is asked again within a second, or when
  // Server::wake_streams() says so. Empty: the stream ends.
  virtual std::optional<std::string> next() = 0;
};

struct Body {
  std::string_view bytes;
  std::shared_ptr<const void> owner;  // of the bytes; empty: they live as long as the program

  Body() = default;
  explicit Body(std::string_view constant) : bytes(constant) {}
  explicit Body(std::shared_ptr<const std::string> text) : bytes(*text), owner(std::move(text)) {}
};

struct Response {
  unsigned status = 200;
  std::string_view type = "text/plain; charset=utf-8";  // lives as long as the program
  Body body;
  std::string_view etag;           // likewise; empty: it is not to be kept by caches
  std::unique_ptr<Stream> stream;  // instead of the body
};

// A line for people; it lives as long as the program.
Response plain(unsigned status, std::string_view text);

class Handler {
 public:
  virtual ~Handler() = default;
  // GET, and HEAD, of which the body is not sent. What it throws becomes a 500.
  virtual Response get(const Request& request) = 0;
};

struct Limits {
  unsigned connections = 128;
  unsigned streams = 32;          // of these
  size_t memory = 32 * 1024;      // of a connection: request line and headers have to fit
  std::chrono::seconds idle{10};  // a connection on which nothing moves is closed
  // In this time a whole request has to be there and its answer read, or the connection is closed:
  // one byte every nine seconds keeps no connection.
  std::chrono::seconds whole{30};
};

struct Counters {
  uint64_t connections = 0;
  std::map<unsigned, uint64_t> responses;  // by status
  uint64_t cut = 0;                        // connections that took too long
};

class Server {
 public:
  // Only Host headers with an address or localhost are served where `listening` is the loopback.
  static Result<std::unique_ptr<Server>> create(Loop& loop, Handler& handler, Listening listening,
                                                Limits limits = {});
  ~Server();

  // There may be something new for streams.
  void wake_streams();

  const Address& address() const;
  const Counters& counters() const;

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace subset::http
