// SPDX-License-Identifier: MIT
// How many random histories a property is tried on.
#pragma once

namespace subset::test {

// `count` of them where the code runs as it is built for users. A sanitizer makes them up to fifty
// times slower, and looks for defects of memory, which show in any tenth of them.
constexpr int histories(int count) {
#ifdef SUBSET_SANITIZED
  return count / 10;
#else
  return count;
#endif
}

}  // namespace subset::test
