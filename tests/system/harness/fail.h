// SPDX-License-Identifier: MIT
// The harness reports what it cannot do by exceptions: doctest shows them, and no test goes on.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

namespace subset::test {

[[noreturn]] inline void throw_errno(const std::string& doing) {
  throw std::system_error(errno, std::generic_category(), doing);
}

// Checks a system call's result and passes it on.
template <typename T>
T checked(T result, const std::string& doing) {
  if (result < 0) throw_errno(doing);
  return result;
}

}  // namespace subset::test
