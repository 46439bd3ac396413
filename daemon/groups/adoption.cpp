// SPDX-License-Identifier: MIT
// What a daemon that starts does: reads pins and tags, and goes on from there.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"
#include "daemon/kernel/process.h"

namespace subset {
namespace {

Group group_of(const kernel::Record& record) {
  const auto& head = record.head;
  Group group;
  group.serial = head.serial;
  group.key.netns_cookie = head.netns_cookie;
  group.key.netns_inode = head.netns_inode;
  group.key.device = head.device;
  group.key.uid = head.uid;
  group.key.port = head.port;
  group.key.family = static_cast<Family>(head.family);
  group.key.protocol = static_cast<Protocol>(head.protocol);
  group.key.v6only = head.v6only != 0;
  std::copy(std::begin(head.address), std::end(head.address), group.key.address.begin());
  group.generation = head.generation;
  group.pending_generation = head.pending_generation;
  group.total = head.total;
  group.pending_total = head.pending_total;
  group.mode = static_cast<Mode>(head.mode);
  group.vacancy = static_cast<Vacancy>(head.vacancy);
  group.elastic = head.elastic != 0;
  for (const auto& seat : record.seats) {
    group.seats.push_back({.instance = seat.instance, .ordinal = seat.ordinal, .cookie = 0});
    const Instance instance{.weight = seat.weight, .drained = seat.drained != 0};
    if (!(instance == Instance{})) group.instances[seat.instance] = instance;
  }
  return group;
}

bool plausible(const kernel::Record& record, GroupSerial serial) {
  const auto& head = record.head;
  return head.serial == serial && head.total >= 1 && head.total <= kMaxTotal && head.port != 0 &&
         head.mode < kModeCount && head.vacancy < kVacancyCount;
}

// The tag says who the socket is; the slot that it sits in says, by the record, which seat that is
// now: seats of an elastic group are renamed, and a newcomer may have taken this one.
Member member_of(const subset_sample& sample) {
  const subset_tag& tag = sample.tag;
  Member member;
  member.cookie = sample.cookie;
  member.lineage = tag.lineage;
  member.instance = tag.instance;
  member.generation = tag.generation;
  member.pid = tag.pid;
  member.command.assign(tag.command, strnlen(tag.command, sizeof tag.command));
  if (tag.pid > 0) member.cpus = kernel::affinity_of(tag.pid);
  member.since =
      Time(std::chrono::duration_cast<Time::duration>(std::chrono::nanoseconds(tag.since_ns)));
  return member;
}

// A listener that was shut down keeps its tag, but is no member until it listens again.
bool may_be_member(const Group& group, const subset_sample& sample) {
  return group.key.protocol == Protocol::Udp || sample.listening != 0;
}

MemberState state_of(const Group& group, const Member& member) {
  if (!group.current(member)) return MemberState::Draining;
  if (member.generation != group.generation) return MemberState::Pending;
  return group.drained(member.instance) ? MemberState::Draining : MemberState::Active;
}

}  // namespace

Result<void> Groups::adopt() {
  auto samples = around_.watch->sample();
  if (!samples) return fail(samples.error(), "adopt");
  for (const subset_sample& sample : *samples)
    if (sample.tag.ordinal == SUBSET_PARKED) parked_.insert(sample.cookie);
  for (GroupSerial serial : around_.pins.group_serials()) {
    if (auto adopted = adopt_group(serial, *samples); !adopted)
      spdlog::error("a group in the pins was not adopted: {}", adopted.error().message());
  }
  while (!changed_.empty()) settle();  // nobody waits yet
  return {};
}

Result<void> Groups::adopt_group(GroupSerial serial, const std::vector<subset_sample>& samples) {
  auto steering = kernel::Steering::adopt(around_.pins, *around_.watch, serial);
  if (!steering) {
    if (steering.error().code != ENOENT) return tl::unexpected(steering.error());
    // Killed while it made the group: no socket uses it yet, or there would be a program.
    (void)kernel::Pins::remove_dir(around_.pins.group_dir(serial));
    return fail(steering.error(), "removed");
  }
  auto record = (*steering)->read_record();
  if (!record) return tl::unexpected(record.error());
  if (!plausible(*record, serial)) {
    (void)(*steering)->unpin();
    return fail(EINVAL, "its record was never written; removed");
  }
  Group group = group_of(*record);
  group.id = registry_.unique_id(group.key);
  for (const subset_sample& sample : samples) {
    if (sample.tag.group != serial || sample.tag.ordinal == SUBSET_PARKED ||
        !may_be_member(group, sample))
      continue;
    Member member = member_of(sample);
    const uint32_t slot = sample.tag.slot;
    const bool seated = slot < group.seats.size() &&
                        (*steering)->occupant(static_cast<Slot>(slot)) == sample.cookie;
    if (seated) {
      Seat& seat = group.seats[slot];
      seat.cookie = sample.cookie;
      member.slot = static_cast<Slot>(slot);
      member.instance = seat.instance;
      member.ordinal = seat.ordinal;
      member.displaced = record->seats[slot].displaced != 0;
    } else {
      member.displaced = true;
      member.ordinal = group.free_ordinal(member.instance);
    }
    member.state = state_of(group, member);
    if (sample.tag.counter != 0 && sample.tag.counter < SUBSET_COUNTERS) {
      counters_[sample.cookie] = sample.tag.counter;
      counters_in_use_[sample.tag.counter] = true;
    }
    watch_process(member.pid);
    group.members.emplace(member.cookie, std::move(member));
  }
  if (group.members.empty()) group.empty_since = std::chrono::system_clock::now();
  Runtime& runtime = runtimes_[serial];
  runtime.plan = recovered_state(group, (*steering)->rows());
  runtime.steering = std::move(*steering);
  spdlog::info("{}: adopted with {} members", group.id, group.members.size());
  if (group.vacancy == Vacancy::Hold && !group.members.empty())
    spdlog::warn(
        "{}: its servers registered with another daemon: their sockets are not held until "
        "they have been restarted",
        group.id);
  manage_port(group.key);
  const Group& adopted = registry_.adopt(std::move(group));
  for (const auto& [cookie, member] : adopted.members)
    if (adopted.waits(member)) await_use(serial, cookie);
  changed_.try_emplace(serial, ++changes_);
  return {};
}

}  // namespace subset
