// SPDX-License-Identifier: MIT
#include "bench/load/address.h"

#include <arpa/inet.h>

#include <charconv>

namespace subset::bench {

Result<sockaddr_in> parse_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
    return fail(EINVAL, text + " is not an IPv4 address with a port, such as 127.0.0.1:53");
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port == 0)
    return fail(EINVAL, text + " has no port from 1 to 65535");
  address.sin_port = htons(port);
  return address;
}

in_addr client_address(uint32_t n) {
  constexpr uint32_t kFirst = 0x7f010001;  // 127.1.0.1
  return {htonl(kFirst + n % 0xfffe)};
}

}  // namespace subset::bench
