// SPDX-License-Identifier: MIT
// What the planner wants and the kernel's side applies: a group's whole steering table.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/model/types.h"

namespace subset {

// A member that may be selected, as least mode and the search for an alternative see it.
struct Candidate {
  Slot slot = kNoSlot;
  uint16_t weight = kDefaultWeight;
  bool operator==(const Candidate&) const = default;
};

struct Table {
  std::vector<std::vector<Slot>> rows;  // one a domain; bucket -> slot, kNoSlot for nobody
  std::vector<Candidate> candidates;
  bool operator==(const Table&) const = default;
};

// What a group's program is specialised by; another shape is another program.
struct Shape {
  Mode mode = Mode::Hash;
  Protocol protocol = Protocol::Udp;
  bool refuse_vacant = false;
  std::vector<uint16_t> domain_of_cpu;  // index: CPU; empty: one domain for all
  uint32_t domains = 1;
  uint32_t row_capacity = 0;  // buckets of the largest row
  uint32_t slots = 0;         // how many members it must be able to hold
  bool operator==(const Shape&) const = default;
};

}  // namespace subset
