// SPDX-License-Identifier: MIT
// From a group to its whole steering table: which CPUs make a domain, which members a domain's row
// is planned over, and the rows, each by plan_row. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/model/planner.h"
#include "daemon/model/registry.h"
#include "daemon/model/table.h"
#include "daemon/model/types.h"

namespace subset {

// The machine's CPUs as /sys describes them.
struct Topology {
  CpuSet online;
  std::vector<uint16_t> node_of_cpu;  // index: CPU, of all possible ones
  uint32_t nodes = 1;                 // highest node + 1

  uint32_t cpus() const { return static_cast<uint32_t>(node_of_cpu.size()); }
  bool operator==(const Topology&) const = default;
};

// The rows in force with what the planner remembers of them.
struct PlanState {
  std::vector<Row> rows;  // one a domain; empty before the first plan
  Mode mode = Mode::Hash;
  uint32_t serial = 0;  // of the last plan
};

struct TablePlan {
  Shape shape;
  Table table;
  PlanState state;  // to be kept if the table is published
};

TablePlan plan_table(const Group& group, const Topology& topology, const PlanState& current);

// What a group's program needs before there is any member.
Shape initial_shape(const GroupKey& key, Mode mode, Vacancy vacancy, uint32_t total,
                    const Topology& topology);

// The rows that a former daemon left, as a state to plan from.
PlanState recovered_state(const Group& group, const std::vector<std::vector<Slot>>& rows);

// The domain that each CPU belongs to; empty: one domain for all.
std::vector<uint16_t> domains_of(Mode mode, const Topology& topology);

}  // namespace subset
