// SPDX-License-Identifier: MIT
#pragma once

#include <cstdlib>

namespace subset::test {

// Is there time for what takes long (scripts/test --all)?
inline bool long_run() {
  return std::getenv("SUBSET_TEST_LONG") != nullptr;
}

}  // namespace subset::test
