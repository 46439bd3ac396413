// SPDX-License-Identifier: MIT
#include "daemon/http/address.h"

#include <cerrno>

#include <doctest/doctest.h>

namespace subset::http {
namespace {

TEST_CASE("addresses are read as they are written") {
  for (const char* text :
       {"127.0.0.1:9753", "0.0.0.0:1", "[::1]:9753", "[::]:65535", "192.168.1.20:0"}) {
    CAPTURE(text);
    const auto address = parse_listen(text);
    REQUIRE(address);
    REQUIRE(*address);
    CHECK((*address)->text() == text);
  }
}

TEST_CASE("off is no address") {
  const auto address = parse_listen("off");
  REQUIRE(address);
  CHECK(!*address);
}

TEST_CASE("what is no address and port is refused, with what is expected") {
  for (const char* text : {"", "127.0.0.1", ":9753", "9753", "localhost:9753", "127.0.0.1:",
                           "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80x", "127.0.0.1: 80",
                           "::1:80", "[::1]", "[::1", "[127.0.0.1]:80", "[::1]80", "OFF"}) {
    CAPTURE(text);
    const auto address = parse_listen(text);
    REQUIRE(!address);
    CHECK(address.error().code == EINVAL);
    CHECK(address.error().message().find("ADDRESS:PORT") != std::string::npos);
  }
}

TEST_CASE("which addresses are of this machine alone") {
  for (const char* text : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1"})
    CHECK((*parse_listen(text))->loopback());
  for (const char* text : {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[fe80::1]:1"})
    CHECK(!(*parse_listen(text))->loopback());
}

TEST_CASE("hosts that are an address or localhost") {
  for (const char* host : {"127.0.0.1", "127.0.0.1:9753", "[::1]:9753", "[::1]", "localhost",
                           "LocalHost:9753", "10.1.2.3:80"})
    CHECK_MESSAGE(is_address_or_localhost(host), host);
  for (const char* host : {"evil.example", "evil.example:9753", "localhost.evil.example",
                           "127.0.0.1.evil.example", "", "::1", "[::1", "notlocalhost"})
    CHECK_MESSAGE(!is_address_or_localhost(host), host);
}

TEST_CASE("a port in use is said as such, with what to do") {
  const auto first = listen_at({"127.0.0.1", 0});
  REQUIRE(first);
  CHECK(first->address.port != 0);
  const auto second = listen_at(first->address);
  REQUIRE(!second);
  CHECK(second.error().code == EADDRINUSE);
  CHECK(second.error().message().find("--http") != std::string::npos);
}

}  // namespace
}  // namespace subset::http
