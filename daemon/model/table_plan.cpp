// SPDX-License-Identifier: MIT
#include "daemon/model/table_plan.h"

#include <algorithm>
#include <utility>

namespace subset {
namespace {

bool by_domain(Mode mode) {
  return mode == Mode::Cpu || mode == Mode::Numa;
}

uint32_t domain_count(Mode mode, const Topology& topology) {
  if (mode == Mode::Cpu) return std::max(1u, topology.cpus());
  if (mode == Mode::Numa) return std::max(1u, topology.nodes);
  return 1;
}

// A row is as long as its usual number of instances asks for: a domain's local ones.
uint32_t row_buckets(Mode mode, uint32_t total, uint32_t domains) {
  if (!by_domain(mode)) return bucket_count(total);
  return bucket_count(std::max(1u, (total + domains - 1) / domains));
}

const Member* member_in(const Group& group, Slot slot) {
  if (slot >= group.seats.size()) return nullptr;
  auto found = group.members.find(group.seats[slot].cookie);
  return found == group.members.end() ? nullptr : &found->second;
}

// The CPUs of the mask that are online; all that are online, where nothing is known of it.
std::vector<uint32_t> usable(const CpuSet& mask, const Topology& topology) {
  std::vector<uint32_t> cpus;
  for (uint32_t cpu : topology.online.list()) {
    if (mask.empty() || mask.contains(cpu)) cpus.push_back(cpu);
  }
  return cpus.empty() ? topology.online.list() : cpus;
}

uint32_t node_of(const Topology& topology, uint32_t cpu) {
  return cpu < topology.node_of_cpu.size() ? topology.node_of_cpu[cpu] : 0;
}

std::vector<uint32_t> nodes_of(const std::vector<uint32_t>& cpus, const Topology& topology) {
  std::vector<uint32_t> nodes;
  for (uint32_t cpu : cpus) {
    const uint32_t node = node_of(topology, cpu);
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

// The domains that a member which may use `cpus` is local to.
std::vector<uint32_t> domains_of_cpus(Mode mode, const std::vector<uint32_t>& cpus,
                                      const Topology& topology) {
  return mode == Mode::Cpu ? cpus : nodes_of(cpus, topology);
}

struct Allowed {
  const PlanMember* member;
  std::vector<uint32_t> cpus;
};

std::vector<Allowed> allowed_cpus(const Group& group, const std::vector<PlanMember>& members,
                                  const Topology& topology) {
  std::vector<Allowed> allowed;
  for (const PlanMember& member : members) {
    const Member* known = member_in(group, member.slot);
    allowed.push_back({&member, usable(known ? known->cpus : CpuSet{}, topology)});
  }
  return allowed;
}

bool all_alike(const std::vector<Allowed>& allowed) {
  return std::all_of(allowed.begin(), allowed.end(),
                     [&](const Allowed& one) { return one.cpus == allowed.front().cpus; });
}

// The members that each domain's row is planned over. Pinned members are local to the CPUs of their
// mask. Where all may run on the same CPUs (a whole machine, or a container's share of it), nobody
// is pinned: then instance i belongs to the i-th of them (cpu), or to the i-th of their nodes
// (numa). A domain without a local member uses them all.
std::vector<std::vector<PlanMember>> members_by_domain(const Group& group,
                                                       const std::vector<PlanMember>& members,
                                                       const Topology& topology, uint32_t domains) {
  if (!by_domain(group.mode)) return {domains, members};
  const std::vector<Allowed> allowed = allowed_cpus(group, members, topology);
  const bool alike = all_alike(allowed);
  const std::vector<uint32_t> everywhere = topology.online.list();
  std::vector<std::vector<PlanMember>> local(domains);
  for (const auto& [member, cpus] : allowed) {
    std::vector<uint32_t> its = domains_of_cpus(group.mode, cpus, topology);
    const bool pinned = cpus.size() == 1 || (!alike && cpus != everywhere);
    if (!pinned && !its.empty()) its = {its[member->instance % its.size()]};
    for (uint32_t domain : its) {
      if (domain < domains) local[domain].push_back(*member);
    }
  }
  for (auto& those : local) {
    if (those.empty()) those = members;
  }
  return local;
}

std::vector<Slot> slots_of(const Row& row) {
  std::vector<Slot> slots(row.size());
  std::transform(row.begin(), row.end(), slots.begin(), [](const Bucket& b) { return b.slot; });
  return slots;
}

std::vector<Candidate> candidates_of(const std::vector<PlanMember>& members) {
  std::vector<Candidate> candidates;
  candidates.reserve(members.size());
  for (const PlanMember& member : members)
    candidates.push_back({member.slot, static_cast<uint16_t>(member.weight)});
  return candidates;
}

}  // namespace

std::vector<uint16_t> domains_of(Mode mode, const Topology& topology) {
  if (mode == Mode::Numa) return topology.node_of_cpu;
  std::vector<uint16_t> domains;
  if (mode == Mode::Cpu) {
    domains.reserve(topology.cpus());
    for (uint32_t cpu = 0; cpu < topology.cpus(); cpu++)
      domains.push_back(static_cast<uint16_t>(cpu));
  }
  return domains;
}

Shape initial_shape(const GroupKey& key, Mode mode, Vacancy vacancy, uint32_t total,
                    const Topology& topology) {
  Shape shape;
  shape.mode = mode;
  shape.protocol = key.protocol;
  shape.refuse_vacant = vacancy == Vacancy::Refuse;
  shape.domain_of_cpu = domains_of(mode, topology);
  shape.domains = domain_count(mode, topology);
  shape.row_capacity = row_buckets(mode, total, shape.domains);
  shape.slots = total * 4;
  return shape;
}

TablePlan plan_table(const Group& group, const Topology& topology, const PlanState& current) {
  TablePlan plan;
  plan.shape = initial_shape(group.key, group.mode, group.vacancy, group.total, topology);
  plan.shape.slots = static_cast<uint32_t>(group.seats.size());  // now it is a need, not a guess
  plan.state.mode = group.mode;
  plan.state.serial = current.serial + 1;

  const std::vector<PlanMember> members = Registry::selectable(group);
  auto local = members_by_domain(group, members, topology, plan.shape.domains);
  RowInput input;
  input.total = group.total;
  input.refuse_vacant = plan.shape.refuse_vacant && !by_domain(group.mode);
  input.serial = plan.state.serial;
  if (input.refuse_vacant) input.vacant_weights = Registry::vacant_weights(group);
  for (uint32_t domain = 0; domain < plan.shape.domains; domain++) {
    const bool kept = current.mode == group.mode && domain < current.rows.size() &&
                      current.rows[domain].size() == plan.shape.row_capacity;
    input.members = std::move(local[domain]);
    input.rotation = domain;
    plan.state.rows.push_back(
        plan_row(kept ? current.rows[domain] : Row(plan.shape.row_capacity), input));
    plan.table.rows.push_back(slots_of(plan.state.rows.back()));
  }
  plan.table.candidates = candidates_of(members);
  return plan;
}

PlanState recovered_state(const Group& group, const std::vector<std::vector<Slot>>& rows) {
  PlanState state;
  state.mode = group.mode;
  for (const auto& slots : rows) {
    Row row(slots.size());
    for (size_t i = 0; i < slots.size(); i++) {
      row[i].slot = slots[i];
      if (slots[i] < group.seats.size()) row[i].instance = group.seats[slots[i]].instance;
    }
    state.rows.push_back(std::move(row));
  }
  return state;
}

}  // namespace subset
