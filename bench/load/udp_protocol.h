// SPDX-License-Identifier: MIT
// Questions that a UDP service is asked. Both DNS and memcached start a datagram with an id of two
// bytes and send it back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace subset::bench {

inline constexpr size_t kMaxQuestion = 64;

class UdpProtocol {
 public:
  // "echo" (of tests and of udp_echo), "dns" (www.example A), "memcached" (get key).
  static Result<UdpProtocol> named(const std::string& name);

  // Writes a question; gives its length.
  size_t write(char* to, uint16_t id) const {
    text_.copy(to, text_.size());
    to[0] = static_cast<char>(id >> 8);
    to[1] = static_cast<char>(id);
    return text_.size();
  }
  uint16_t id_of(std::string_view answer) const {
    if (answer.size() < 2) return 0;
    return static_cast<uint16_t>(static_cast<unsigned char>(answer[0]) << 8 |
                                 static_cast<unsigned char>(answer[1]));
  }
  // It has what was asked for, and is no error.
  bool is_answer(std::string_view answer) const { return is_answer_(answer); }

 private:
  UdpProtocol(std::string text, bool (*check)(std::string_view))
      : text_(std::move(text)), is_answer_(check) {}

  std::string text_;
  bool (*is_answer_)(std::string_view);
};

}  // namespace subset::bench
