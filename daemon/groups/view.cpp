// SPDX-License-Identifier: MIT
// What there is to see of the groups: the registry's names, the kernel's numbers.
#include <algorithm>
#include <tuple>

#include "daemon/groups/groups.h"

namespace subset {
namespace {

using observe::GroupView;
using observe::MemberView;

MemberView named(const Group& group, uint32_t instance, uint32_t ordinal) {
  MemberView view;
  view.instance = instance;
  view.member = ordinal;
  view.weight = group.weight_of(instance);
  return view;
}

void describe(MemberView& view, const Member& member) {
  view.state = member.state;
  view.pid = member.pid;
  view.command = member.command;
  view.cpus = member.cpus.cpulist();
  view.cookie = member.cookie;
  view.since = member.since;
}

void measure(MemberView& view, const subset_sample& sample) {
  view.queue_bytes = sample.queue_bytes;
  view.queue_limit_bytes = sample.queue_limit_bytes;
  view.drops = sample.drops;
  view.backlog = sample.backlog;
  view.backlog_limit = sample.backlog_limit;
}

GroupView headline(const Group& group) {
  GroupView view;
  view.id = group.id;
  view.protocol = group.key.protocol;
  view.address = address_text(group.key);
  view.port = group.key.port;
  view.netns = group.key.netns_inode;
  view.uid = group.key.uid;
  view.mode = group.mode;
  view.vacancy = group.vacancy;
  view.total = group.total;
  view.generation = group.generation;
  view.pending_generation = group.pending_total > 0 ? group.pending_generation : 0;
  view.pending_total = group.pending_total;
  return view;
}

}  // namespace

GroupView Groups::view_of(const Group& group, const Runtime& runtime,
                          const Samples& samples) const {
  GroupView view = headline(group);
  kernel::GroupCounts counts;
  if (auto read = runtime.steering->counts()) counts = std::move(*read);
  view.kernel = counts.kernel;
  view.refused = counts.refused;

  std::map<uint32_t, uint64_t> since_change;  // by active instance
  auto add = [&](const Member& member, MemberView&& row) {
    describe(row, member);
    if (auto sample = samples.find(member.cookie); sample != samples.end())
      measure(row, sample->second);
    if (auto counter = counters_.find(member.cookie); counter != counters_.end())
      row.open_connections = around_.watch->open_connections(counter->second);
    view.members.push_back(std::move(row));
  };

  for (size_t slot = 0; slot < group.seats.size(); slot++) {
    const Seat& seat = group.seats[slot];
    const kernel::SlotCounts counted =
        slot < counts.slots.size() ? counts.slots[slot] : kernel::SlotCounts{};
    MemberView row = named(group, seat.instance, seat.ordinal);
    row.selected = counted.home + counted.alternative;
    row.migrated = counted.migrated;
    view.home += counted.home;
    view.alternative += counted.alternative;
    auto member = group.members.find(seat.cookie);
    if (member == group.members.end()) {
      // What was counted here stays part of the sum.
      row.vacant = true;
      row.state = MemberState::Draining;
      if (row.selected + row.migrated > 0) view.members.push_back(std::move(row));
      continue;
    }
    if (member->second.state == MemberState::Active) {
      const uint64_t before =
          slot < runtime.selected_at_change.size() ? runtime.selected_at_change[slot] : 0;
      since_change[seat.instance] += row.selected - std::min(before, row.selected);
    }
    add(member->second, std::move(row));
  }
  for (const auto& [cookie, member] : group.members) {
    if (member.slot == kNoSlot) add(member, named(group, member.instance, member.ordinal));
  }
  std::sort(view.members.begin(), view.members.end(), [](const auto& a, const auto& b) {
    return std::pair(a.instance, a.member) < std::pair(b.instance, b.member);
  });
  std::vector<std::pair<uint64_t, uint32_t>> loads;
  loads.reserve(since_change.size());
  for (const auto& [instance, selected] : since_change)
    loads.emplace_back(selected, group.weight_of(instance));
  view.strangers = runtime.strangers;
  view.strangers.insert(view.strangers.end(), runtime.misplaced.begin(), runtime.misplaced.end());
  view.foreign = runtime.foreign;
  view.imbalance = observe::imbalance_of(loads);
  return view;
}

Groups::Size Groups::size() const {
  Size size{.groups = registry_.groups().size()};
  for (const auto& [serial, group] : registry_.groups()) size.members += group.members.size();
  return size;
}

observe::Snapshot Groups::snapshot() const {
  observe::Snapshot snapshot;
  snapshot.at = std::chrono::system_clock::now();
  Samples by_cookie;
  auto samples = around_.watch->sample();
  if (samples) {
    for (const subset_sample& sample : *samples) by_cookie.emplace(sample.cookie, sample);
  }
  for (const auto& [serial, group] : registry_.groups()) {
    auto runtime = runtimes_.find(serial);
    if (runtime != runtimes_.end())
      snapshot.groups.push_back(view_of(group, runtime->second, by_cookie));
  }
  std::sort(snapshot.groups.begin(), snapshot.groups.end(), [](const auto& a, const auto& b) {
    return std::tie(a.id, a.uid) < std::tie(b.id, b.uid);
  });
  return snapshot;
}

// The CPUs of each domain; one domain is for all.
std::vector<CpuSet> Groups::cpus_of_domains(const Runtime& runtime) const {
  std::vector<CpuSet> cpus(runtime.plan.rows.size());
  const auto domain_of_cpu = domains_of(runtime.plan.mode, around_.topology);
  for (uint32_t cpu = 0; cpu < domain_of_cpu.size(); cpu++) {
    if (domain_of_cpu[cpu] < cpus.size()) cpus[domain_of_cpu[cpu]].add(cpu);
  }
  return cpus;
}

std::optional<observe::TableView> Groups::table(std::string_view id) const {
  const Group* group = registry_.find_id(std::string(id));
  if (!group) return std::nullopt;
  const auto runtime = runtimes_.find(group->serial);
  if (runtime == runtimes_.end()) return std::nullopt;
  const PlanState& plan = runtime->second.plan;
  observe::TableView view;
  view.group = group->id;
  view.mode = plan.mode;
  view.total = group->total;
  view.plan = plan.serial;
  for (size_t slot = 0; slot < group->seats.size(); slot++)
    view.slots.push_back(
        {static_cast<Slot>(slot), group->seats[slot].instance, group->seats[slot].ordinal});
  const auto cpus = cpus_of_domains(runtime->second);
  for (size_t domain = 0; domain < plan.rows.size(); domain++)
    view.domains.push_back({cpus[domain].cpulist(), plan.rows[domain]});
  return view;
}

}  // namespace subset
