// SPDX-License-Identifier: MIT
// "127.0.0.1:5353", "[::1]:5353": an address and a port, for the little servers and for the tests.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace subset::test {

class Address {
 public:
  // Throws std::invalid_argument.
  explicit Address(const std::string& text);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.ss_family; }
  const std::string& text() const { return text_; }

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
  std::string text_;
};

}  // namespace subset::test
