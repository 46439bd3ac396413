// SPDX-License-Identifier: MIT
// How the little servers end where a call fails.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace subset::test {

[[noreturn]] inline void die(const char* call) {
  std::fprintf(stderr, "%s: %s\n", call, std::strerror(errno));
  std::_Exit(1);
}

}  // namespace subset::test
