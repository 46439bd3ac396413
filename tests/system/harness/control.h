// SPDX-License-Identifier: MIT
// The control socket, spoken by hand: whatever bytes with whatever descriptors, so that a test can
// also say what no shim would.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "protocol/message.h"
#include "tests/system/harness/clock.h"

namespace subset::test {

struct Packet {
  std::string bytes;
  std::vector<Fd> descriptors;

  // The bytes as this message; throws if the size is another.
  template <typename Message>
  Message as() const {
    check_size(sizeof(Message));
    Message message;
    bytes.copy(reinterpret_cast<char*>(&message), sizeof message);
    return message;
  }

 private:
  void check_size(size_t size) const;
};

template <typename Message>
std::string bytes_of(const Message& message) {
  return {reinterpret_cast<const char*>(&message), sizeof message};
}

// One end of a SOCK_SEQPACKET connection.
class Connection {
 public:
  explicit Connection(Fd socket) : socket_(std::move(socket)) {}
  // To a daemon; throws if there is none.
  static Connection to(const std::string& path);

  // False if the peer does not take it (EPIPE, ECONNRESET): it may have hung up already.
  bool send(const std::string& bytes, const std::vector<int>& descriptors = {}) const;
  // Empty: the peer has hung up. Throws when the limit is over.
  std::optional<Packet> receive(Clock::duration limit = kPatience) const;

  int fd() const { return socket_.get(); }

 private:
  Fd socket_;
};

// Listens on a control socket's path, open to every user as the daemon's.
Fd listen_at(const std::string& path);

}  // namespace subset::test
