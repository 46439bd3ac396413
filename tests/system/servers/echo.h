// SPDX-License-Identifier: MIT
// What the test's clients and the little servers say to each other.
#pragma once

#include <cstdint>

namespace subset::test {

// A numbered datagram of a flow; each flow is one client socket and counts from 0.
struct Question {
  uint32_t flow = 0;
  uint32_t sequence = 0;
};

// The same, and who answered.
struct Answer {
  uint32_t flow = 0;
  uint32_t sequence = 0;
  uint32_t server = 0;
};

}  // namespace subset::test
