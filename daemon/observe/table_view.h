// SPDX-License-Identifier: MIT
// The steering table of one group, as it is in force: for those who want to see how buckets lie.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/model/planner.h"

namespace subset::observe {

struct TableView {
  struct Holder {
    Slot slot = 0;
    uint32_t instance = 0;
    uint32_t member = 0;
  };
  struct Domain {
    std::string cpus;  // whose packets it steers; empty: those of all CPUs
    Row row;
  };

  std::string group;
  Mode mode = Mode::Hash;
  uint32_t total = 1;
  uint32_t plan = 0;  // number of the plan that made it; buckets say which one moved them
  std::vector<Holder> slots;
  std::vector<Domain> domains;
};

// {"group":..,"mode":..,"total":..,"plan":7,"slots":[{"slot":0,"instance":0,"member":0}],
//  "domains":[{"cpus":"0-1","buckets":1024,"slot":[[0,1],[1,1],..],"former":[[null,1024]],
//  "moved":[[1,1020],[7,4]]}]}: the last three in runs of [value, how many buckets]; a slot of null
// is nobody.
std::string to_json(const TableView& table);

}  // namespace subset::observe
