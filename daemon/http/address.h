// SPDX-License-Identifier: MIT
// Where the daemon is to be seen: an address and a port of its own network namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::http {

inline constexpr char kDefaultListen[] = "127.0.0.1:9753";

struct Address {
  std::string host;   // an address, not a name: nothing here waits for a resolver. No brackets.
  uint16_t port = 0;  // 0: the kernel picks one

  bool loopback() const;
  std::string text() const;  // "127.0.0.1:9753", "[::1]:9753"
  bool operator==(const Address&) const = default;
};

// "127.0.0.1:9753", "[::1]:9753"; "off" is no address. Errors: EINVAL, with what is expected.
Result<std::optional<Address>> parse_listen(std::string_view text);

// Does a Host header name the machine as `address` does: by an address, or as localhost? A page
// from elsewhere whose name was made to lead to 127.0.0.1 (DNS rebinding) says its own name there.
bool is_address_or_localhost(std::string_view host);

// A listening socket, and where it listens if the port was 0. Errors: EADDRINUSE and the like, with
// what to do.
struct Listening {
  Fd socket;
  Address address;
};
Result<Listening> listen_at(const Address& address);

}  // namespace subset::http
