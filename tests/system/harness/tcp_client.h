// SPDX-License-Identifier: MIT
// Connections to servers that say who they are (tests/system/servers/tcp_server.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"
#include "tests/system/servers/address.h"

namespace subset::test {

// One connection. What goes wrong with it is a result, not an exception.
class TcpClient {
 public:
  // Connected when it returns, unless there is an error.
  explicit TcpClient(const Address& server);

  // Says a byte, to servers that wait for their clients to speak.
  void greet();
  // Who accepted it; empty, with an error, if nobody did.
  std::optional<uint32_t> server();

  // The errno of what failed first, or 0: ECONNREFUSED, ECONNRESET, EPIPE (closed without a word),
  // EAGAIN (no word for as long as kPatience).
  int error() const { return error_; }

 private:
  void note(int error);

  Fd socket_;
  int error_ = 0;
};

// How many connections each server accepted.
using Tally = std::map<uint32_t, uint32_t>;

// Connects, asks who is there and closes, so many times; throws at the first failure.
Tally visit(const Address& server, uint32_t times);

}  // namespace subset::test
