// SPDX-License-Identifier: MIT
#include "bench/load/udp_protocol.h"

namespace subset::bench {
namespace {

using namespace std::string_view_literals;

bool is_echo(std::string_view answer) {
  return answer.size() >= 2;
}

// A response without an error that has an answer (RFC 1035, 4.1.1).
bool is_dns_answer(std::string_view answer) {
  constexpr size_t kHeader = 12;
  return answer.size() > kHeader && (answer[2] & 0x80) && (answer[3] & 0x0f) == 0 &&
         (answer[6] != 0 || answer[7] != 0);
}

// Behind the frame header of 8 bytes (memcached's protocol.txt, "UDP protocol").
bool is_memcached_value(std::string_view answer) {
  constexpr size_t kFrame = 8;
  return answer.size() > kFrame && answer.substr(kFrame).substr(0, 6) == "VALUE ";
}

constexpr auto kEcho = "\0\0 sixteen bytes"sv;
constexpr auto kDns = "\0\0\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"sv;
constexpr auto kMemcached = "\0\0\0\0\0\1\0\0get key\r\n"sv;
static_assert(kEcho.size() <= kMaxQuestion && kDns.size() <= kMaxQuestion &&
              kMemcached.size() <= kMaxQuestion);

}  // namespace

Result<UdpProtocol> UdpProtocol::named(const std::string& name) {
  if (name == "echo") return UdpProtocol(std::string(kEcho), is_echo);
  if (name == "dns") return UdpProtocol(std::string(kDns), is_dns_answer);
  if (name == "memcached") return UdpProtocol(std::string(kMemcached), is_memcached_value);
  return fail(EINVAL, name + " is no protocol: echo, dns or memcached");
}

}  // namespace subset::bench
