// SPDX-License-Identifier: MIT
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace subset::bench {

// "127.0.0.1:53".
Result<sockaddr_in> parse_address(const std::string& text);

// The n-th client address of a machine that is its own network: 127.1.0.1 and on, so that clients
// never run out of ports and flows differ in more than one field.
in_addr client_address(uint32_t n);

inline const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace subset::bench
