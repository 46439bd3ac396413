// SPDX-License-Identifier: MIT
// Lines on standard error: "subset: ...". Built on the stack and written by one write(2), so that a
// signal handler, a vfork child or a process out of memory may log. errno is kept.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shim/settings.h"

namespace subset::shim {

// One line, written when it goes out of scope, if the level is asked for. What does not fit is cut
// off; control characters, which a value of the environment or a reply may hold, become '?'.
class Line {
 public:
  explicit Line(LogLevel level);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  Line& operator<<(const char* text);
  Line& operator<<(uint64_t number);

  // The text so far, without the newline; for tests.
  const char* text() {
    buffer_[size_] = '\0';
    return buffer_;
  }

 private:
  void put(char c);

  bool wanted_;
  size_t size_ = 0;
  char buffer_[512];
};

// What an errno means, for people; never nullptr, without the locale that strerror looks up.
const char* describe_error(int error);

}  // namespace subset::shim
