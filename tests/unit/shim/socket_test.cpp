// SPDX-License-Identifier: MIT
#include "shim/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace subset::shim;

namespace {

bool parse(const void* address, socklen_t length, int family, Endpoint& endpoint) {
  return parse_endpoint(static_cast<const sockaddr*>(address), length, family, endpoint);
}

int error_of(int family, int type, int protocol) {
  const int fd = socket(family, type, protocol);
  REQUIRE(fd >= 0);
  Socket description;
  const int error = describe(fd, description);
  if (error == 0) CHECK(description.cookie != 0);
  close(fd);
  return error;
}

}  // namespace

TEST_CASE("an IPv4 address") {
  sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {}, .sin_zero = {}};
  Endpoint endpoint;
  REQUIRE(parse(&in, sizeof in, AF_INET, endpoint));
  CHECK(endpoint.family == AF_INET);
  CHECK(endpoint.port == 53);
  CHECK(endpoint.any_address());
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(parse(&in, sizeof in, AF_INET, endpoint));
  CHECK_FALSE(endpoint.any_address());
  CHECK(endpoint.address[0] == 127);
}

TEST_CASE("AF_UNSPEC stands for AF_INET with the any-address, as the kernel has it") {
  sockaddr_in in{};
  Endpoint endpoint;
  CHECK(parse(&in, sizeof in, AF_INET, endpoint));
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_FALSE(parse(&in, sizeof in, AF_INET, endpoint));
}

TEST_CASE("an IPv6 address, also without its scope") {
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(443);
  in6.sin6_addr = in6addr_loopback;
  Endpoint endpoint;
  REQUIRE(parse(&in6, sizeof in6, AF_INET6, endpoint));
  CHECK(endpoint.port == 443);
  CHECK(endpoint.address[15] == 1);
  CHECK_FALSE(endpoint.any_address());
  CHECK(parse(&in6, 24, AF_INET6, endpoint));
  CHECK_FALSE(parse(&in6, 23, AF_INET6, endpoint));
}

TEST_CASE("what the kernel would refuse is not read") {
  const sockaddr_in in{.sin_family = AF_INET, .sin_port = 1, .sin_addr = {}, .sin_zero = {}};
  Endpoint endpoint;
  CHECK_FALSE(parse(nullptr, sizeof in, AF_INET, endpoint));
  CHECK_FALSE(parse(&in, sizeof in - 1, AF_INET, endpoint));
  CHECK_FALSE(parse(&in, 0, AF_INET, endpoint));
  const sockaddr_storage wide{};
  CHECK_FALSE(parse(&wide, sizeof wide, AF_INET6, endpoint));
}

TEST_CASE("UDP and TCP over IP can be members, nothing else") {
  CHECK(error_of(AF_INET, SOCK_DGRAM, 0) == 0);
  CHECK(error_of(AF_INET, SOCK_STREAM, 0) == 0);
  CHECK(error_of(AF_INET6, SOCK_DGRAM, IPPROTO_UDP) == 0);
  CHECK(error_of(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP) == 0);
  CHECK(error_of(AF_UNIX, SOCK_DGRAM, 0) == EOPNOTSUPP);
  CHECK(error_of(AF_NETLINK, SOCK_RAW, 0) == EOPNOTSUPP);
  Socket description;
  CHECK(describe(-1, description) == EBADF);
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  CHECK(describe(pipe_ends[0], description) == ENOTSOCK);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}
