// SPDX-License-Identifier: MIT
// A seccomp filter by which a little server shuts itself in.
#pragma once

#include <cstdint>
#include <vector>

namespace subset::test {

// From here on `calls` have one end (SECCOMP_RET_...), and all others another.
void confine(const std::vector<int>& calls, uint32_t end, uint32_t otherwise);

}  // namespace subset::test
