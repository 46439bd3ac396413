// SPDX-License-Identifier: MIT
// What a daemon that starts must learn about a group beside its members' tags: kept in a pinned map
// that no program reads. Fixed-width; whoever changes it raises SUBSET_LAYOUT.
#pragma once

#include <cstdint>
#include <vector>

namespace subset::kernel {

struct RecordHead {
  uint64_t serial;
  uint64_t netns_cookie;
  uint64_t generation;
  uint64_t pending_generation;
  uint32_t netns_inode;
  uint32_t device;
  uint32_t uid;
  uint32_t total;
  uint32_t pending_total;
  uint32_t seat_count;
  uint16_t port;
  uint8_t family;
  uint8_t protocol;
  uint8_t mode;
  uint8_t vacancy;
  uint8_t v6only;
  uint8_t elastic;
  uint8_t address[16];
};
static_assert(sizeof(RecordHead) == 80);

// One slot: the name of its seat, and what was set for its instance.
struct RecordSeat {
  uint16_t instance;
  uint16_t ordinal;
  uint16_t weight;
  uint8_t drained;    // by the operator
  uint8_t displaced;  // the member in it drains for good: a newcomer took its instance over
};
static_assert(sizeof(RecordSeat) == 8);

struct Record {
  RecordHead head{};
  std::vector<RecordSeat> seats;  // indexed by slot
};

}  // namespace subset::kernel
