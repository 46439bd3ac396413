// SPDX-License-Identifier: MIT
#include "daemon/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstring>

namespace subset::http {
namespace {

constexpr int kBacklog = 128;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  sockaddr_in* v4() { return reinterpret_cast<sockaddr_in*>(&storage); }
  sockaddr_in6* v6() { return reinterpret_cast<sockaddr_in6*>(&storage); }
};

std::optional<SocketAddress> socket_address(const std::string& host, uint16_t port) {
  SocketAddress address;
  if (inet_pton(AF_INET, host.c_str(), &address.v4()->sin_addr) == 1) {
    address.storage.ss_family = AF_INET;
    address.v4()->sin_port = htons(port);
    address.size = sizeof(sockaddr_in);
    return address;
  }
  if (inet_pton(AF_INET6, host.c_str(), &address.v6()->sin6_addr) == 1) {
    address.storage.ss_family = AF_INET6;
    address.v6()->sin6_port = htons(port);
    address.size = sizeof(sockaddr_in6);
    return address;
  }
  return std::nullopt;
}

struct HostAndPort {
  std::string_view host;  // without brackets
  std::string_view port;
  bool bracketed = false;
};

// "host", "host:port", "[v6]", "[v6]:port".
std::optional<HostAndPort> split(std::string_view text) {
  HostAndPort parts;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    parts = {.host = text.substr(1, end - 1), .port = {}, .bracketed = true};
    rest = text.substr(end + 1);
  } else {
    const size_t end = std::min(text.find(':'), text.size());
    parts = {.host = text.substr(0, end), .port = {}, .bracketed = false};
    rest = text.substr(end);
  }
  if (rest.empty()) return parts;
  if (!rest.starts_with(':')) return std::nullopt;
  parts.port = rest.substr(1);
  return parts;
}

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

bool equal_but_for_case(std::string_view left, std::string_view right) {
  return left.size() == right.size() && strncasecmp(left.data(), right.data(), left.size()) == 0;
}

}  // namespace

bool Address::loopback() const {
  auto address = socket_address(host, port);
  if (!address) return false;
  if (address->storage.ss_family == AF_INET)
    return ntohl(address->v4()->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&address->v6()->sin6_addr) != 0;
}

std::string Address::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<std::optional<Address>> parse_listen(std::string_view text) {
  if (text == "off") return std::optional<Address>();
  const auto parts = split(text);
  const auto port = parts ? parse_port(parts->port) : std::nullopt;
  if (port) {
    const std::string host(parts->host);
    const auto known = socket_address(host, *port);
    if (known && parts->bracketed == (known->storage.ss_family == AF_INET6))
      return std::optional(Address{host, *port});
  }
  return fail(EINVAL, "'" + std::string(text) +
                          "' is not ADDRESS:PORT, such as 127.0.0.1:9753 or [::1]:9753, nor off");
}

bool is_address_or_localhost(std::string_view host) {
  const auto parts = split(host);
  if (!parts) return false;
  if (parts->bracketed || equal_but_for_case(parts->host, "localhost")) return true;
  return socket_address(std::string(parts->host), 0).has_value();
}

Result<Listening> listen_at(const Address& address) {
  const std::string doing = "serve HTTP on " + address.text();
  auto name = socket_address(address.host, address.port);
  if (!name) return fail(EINVAL, doing + ": this is no address");
  Fd fd(socket(name->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(doing);
  // What the last daemon's connections left behind does not keep the next one out.
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd.get(), name->get(), name->size) != 0 || listen(fd.get(), kBacklog) != 0) {
    if (errno == EADDRINUSE)
      return fail(EADDRINUSE,
                  doing + ": the port is in use; subsetd --http ADDRESS:PORT takes another, " +
                      "--http off none");
    return fail_errno(doing);
  }
  Address actual = address;
  if (getsockname(fd.get(), name->get(), &name->size) == 0)
    actual.port = ntohs(name->v4()->sin_port);
  return Listening{std::move(fd), std::move(actual)};
}

}  // namespace subset::http
