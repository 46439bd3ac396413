// SPDX-License-Identifier: MIT
#include "daemon/model/table_plan.h"

#include <algorithm>
#include <map>

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
  for (uint32_t cpu : cpus) nodes.push_back(node_of(topology, cpu));
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

// The domains that a member which may use `cpus` is local to.
std::vector<uint32_t> domains_of_cpus(Mode mode, const std::vector<uint32_t>& cpus,
                                      const Topology& topology) {
  return mode == Mode::Cpu ? cpus : nodes_of(cpus, topology);
}

using Locality = std::map<Slot, std::vector<uint32_t>>;  // slot -> its domains

// The mask that all members share, if they do.
bool all_alike(const std::vector<std::pair<PlanMember, std::vector<uint32_t>>>& masks) {
  return std::all_of(masks.begin(), masks.end(),
                     [&](const auto& mask) { return mask.second == masks.front().second; });
}

Locality locality_of(const Group& group, const std::vector<PlanMember>& members,
                     const Topology& topology) {
  std::vector<std::pair<PlanMember, std::vector<uint32_t>>> masks;
  for (const PlanMember& member : members) {
    const Member* known = member_in(group, member.slot);
    masks.emplace_back(member, usable(known ? known->cpus : CpuSet{}, topology));
  }
  const bool alike = all_alike(masks);
  const std::vector<uint32_t> everywhere = topology.online.list();
  Locality locality;
  for (const auto& [member, mask] : masks) {
    std::vector<uint32_t> domains = domains_of_cpus(group.mode, mask, topology);
    const bool pinned = mask.size() == 1 || (!alike && mask != everywhere);
    if (!pinned && !domains.empty()) domains = {domains[member.instance % domains.size()]};
    locality[member.slot] = std::move(domains);
  }
  return locality;
}

std::vector<PlanMember> members_of_domain(const std::vector<PlanMember>& members,
                                          const Locality& locality, uint32_t domain) {
  std::vector<PlanMember> local;
  for (const PlanMember& member : members) {
    const auto& domains = locality.at(member.slot);
    if (std::find(domains.begin(), domains.end(), domain) != domains.end()) local.push_back(member);
  }
  return local.empty() ? members : local;
}

std::vector<Slot> slots_of(const Row& row) {
  std::vector<Slot> slots(row.size());
  std::transform(row.begin(), row.end(), slots.begin(), [](const Bucket& b) { return b.slot; });
  return slots;
}

std::vector<Candidate> candidates_of(const std::vector<PlanMember>& members) {
  std::vector<Candidate> candidates;
  for (const PlanMember& member : members)
    candidates.push_back({member.slot, static_cast<uint16_t>(member.weight)});
  return candidates;
}

}  // namespace

std::vector<uint16_t> domains_of(Mode mode, const Topology& topology) {
  if (mode == Mode::Numa) return topology.node_of_cpu;
  std::vector<uint16_t> domains;
  if (mode == Mode::Cpu) {
    for (uint32_t cpu = 0; cpu < topology.cpus(); cpu++)
      domains.push_back(static_cast<uint16_t>(cpu));
  }
  return domains;
}

std::vector<PlanMember> local_members(const Group& group, const std::vector<PlanMember>& members,
                                      const Topology& topology, uint32_t domain) {
  if (!by_domain(group.mode)) return members;
  return members_of_domain(members, locality_of(group, members, topology), domain);
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
  const Locality locality =
      by_domain(group.mode) ? locality_of(group, members, topology) : Locality{};
  RowInput input;
  input.total = group.total;
  input.refuse_vacant = plan.shape.refuse_vacant && !by_domain(group.mode);
  input.serial = plan.state.serial;
  if (input.refuse_vacant) input.vacant_weights = Registry::vacant_weights(group);
  for (uint32_t domain = 0; domain < plan.shape.domains; domain++) {
    const bool kept = current.mode == group.mode && domain < current.rows.size() &&
                      current.rows[domain].size() == plan.shape.row_capacity;
    input.members = by_domain(group.mode) ? members_of_domain(members, locality, domain) : members;
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
