// SPDX-License-Identifier: MIT
// The planner: members, weights and the table in force in; the next table out. Pure.
//
// One row of the table maps buckets to slots. A row is planned so that it is
//   1. exact: the bucket count of every instance is its quota by largest remainder over the weights
//      of the row's instances, and every member's is its quota within its instance;
//   2. minimal: a bucket leaves a member of the row only when that is needed to reach the quotas;
//   3. homing: bucket b's home is instance b mod total (within it, its members in turn); a member
//      that lacks buckets gets back first what it last gave up, then its home buckets, so that a
//      group that lost and regained a member ends with the table it began with;
//   4. deterministic: equal histories give equal tables.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "daemon/model/types.h"

namespace subset {

// A member that may be selected (active and not drained).
struct PlanMember {
  Slot slot = 0;
  uint32_t instance = 0;
  uint32_t ordinal = 0;              // orders the members of one instance
  uint32_t weight = kDefaultWeight;  // of the instance: the same in all its members
  bool operator==(const PlanMember&) const = default;
};

// One bucket of a row and where it came from.
struct Bucket {
  Slot slot = kNoSlot;               // kNoSlot: nobody (refused, or no member at all)
  Slot former = kNoSlot;             // the last other slot that had it, kNoSlot if there was none
  uint32_t moved = 0;                // serial number of the plan that moved it, 0 for never
  uint32_t instance = kAnyInstance;  // whose share it is; of a vacant instance, if that keeps it
  bool operator==(const Bucket&) const = default;
};
using Row = std::vector<Bucket>;

struct RowInput {
  uint32_t total = 1;               // of the active generation: homes are taken modulo this
  std::vector<PlanMember> members;  // of this row, in any order, slots distinct
  // Vacancy `refuse`: the share of an instance without member stays with nobody instead of being
  // spread. Its weight stands in vacant_weights, {instance, weight}, where it is not the default;
  // of an instance that has members the entry is ignored.
  bool refuse_vacant = false;
  std::vector<std::pair<uint32_t, uint32_t>> vacant_weights;
  uint32_t serial = 1;    // of this plan; larger than any before
  uint32_t rotation = 0;  // which of equal remainders wins first: the domain's number, so that many
                          // small rows do not all favour the same instance
};

// Buckets that a row over `total` instances gets: a multiple of the total, at least 1024, and at
// least 16 an instance, so that shares are even.
uint32_t bucket_count(uint32_t total);

// The next row. `current` has the row's fixed number of buckets (a new row: all Bucket{}).
// O(members log members + buckets), and buckets log buckets for those that go back.
Row plan_row(const Row& current, const RowInput& input);

}  // namespace subset
