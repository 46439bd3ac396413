// SPDX-License-Identifier: MIT
// CPU time that the planner takes for a whole table, from nothing and after one member has left: no
// kernel, the model alone. Prints one line of JSON.
#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/thread.h"
#include "daemon/model/table_plan.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  uint32_t members = 4096;
  unsigned runs = 20;
};

Topology two_cpus() {
  Topology topology;
  topology.node_of_cpu = {0, 0};
  for (uint32_t cpu = 0; cpu < 2; cpu++) topology.online.add(cpu);
  return topology;
}

// One member an instance, none of them pinned.
Group full_group(uint32_t members) {
  Group group;
  group.serial = 1;
  group.total = members;
  for (uint32_t i = 0; i < members; i++) {
    const Cookie cookie = i + 1;
    Member member;
    member.cookie = member.lineage = cookie;
    member.slot = static_cast<Slot>(i);
    member.instance = i;
    group.seats.push_back({.instance = i, .ordinal = 0, .cookie = cookie});
    group.members.emplace(cookie, member);
  }
  return group;
}

double milliseconds_to_plan(const Group& group, const PlanState& from) {
  const uint64_t before = thread_cpu_ns();
  const TablePlan plan = plan_table(group, two_cpus(), from);
  const double spent = static_cast<double>(thread_cpu_ns() - before) / 1e6;
  return plan.table.rows.empty() ? -1 : spent;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

nlohmann::json run(const Options& options) {
  const Group all = full_group(options.members);
  const PlanState in_force = plan_table(all, two_cpus(), {}).state;
  std::vector<double> first, again;
  for (unsigned i = 0; i < options.runs; i++) {
    Group without = all;
    const Cookie victim = 1 + i % options.members;
    without.seats[without.members.at(victim).slot].cookie = 0;
    without.members.erase(victim);
    first.push_back(milliseconds_to_plan(all, {}));
    again.push_back(milliseconds_to_plan(without, in_force));
  }
  return {{"members", options.members},
          {"first_ms", median(first)},
          {"one_left_ms", median(again)},
          {"one_left_max_ms", *std::max_element(again.begin(), again.end())}};
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Times the planner and prints it as JSON", "plan_cost"};
  app.add_option("--members", options.members, "instances, a member each")->capture_default_str();
  app.add_option("--runs", options.runs, "how often")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::puts(run(options).dump().c_str());
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "plan_cost: %s\n", error.what());
  return 1;
}
