// SPDX-License-Identifier: MIT
#include "tests/system/servers/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <stdexcept>

namespace subset::test {

Address::Address(const std::string& text) : text_(text) {
  auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) throw std::invalid_argument("no port in " + text);
  std::string host = text.substr(0, colon);
  auto port = htons(static_cast<uint16_t>(std::stoul(text.substr(colon + 1))));
  if (host.front() == '[' && host.back() == ']') {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage_);
    *address = {.sin6_family = AF_INET6, .sin6_port = port};
    size_ = sizeof *address;
    host = host.substr(1, host.size() - 2);
    if (inet_pton(AF_INET6, host.c_str(), &address->sin6_addr) == 1) return;
  } else {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage_);
    *address = {.sin_family = AF_INET, .sin_port = port};
    size_ = sizeof *address;
    if (inet_pton(AF_INET, host.c_str(), &address->sin_addr) == 1) return;
  }
  throw std::invalid_argument("no address in " + text);
}

}  // namespace subset::test
