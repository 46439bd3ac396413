// SPDX-License-Identifier: MIT
// Carries out what admit() decided and what departures and operators bring. After each change,
// settle() puts right what follows from it, so that no change needs to know about the others.
#include "daemon/model/registry.h"

#include <algorithm>

namespace subset {
namespace {

// Changes what is known of an instance; what is as if never said is not kept.
template <typename Change>
void configure(Group& group, uint32_t instance, Change change) {
  const auto entry = group.instances.try_emplace(instance).first;
  change(entry->second);
  if (entry->second == Instance{}) {
    group.instances.erase(entry);
  }
}

std::set<uint32_t> drained_instances(const Group& group) {
  std::set<uint32_t> drained;
  for (const auto& [instance, settings] : group.instances) {
    if (settings.drained) {
      drained.insert(instance);
    }
  }
  return drained;
}

void clear_seat(Group& group, const Member& member) {
  if (member.slot < group.seats.size() && group.seats[member.slot].cookie == member.cookie) {
    group.seats[member.slot].cookie = 0;
  }
}

void drain_generation(Group& group, uint64_t generation) {
  for (auto& [cookie, member] : group.members) {
    if (member.generation == generation) {
      member.state = MemberState::Draining;
    }
  }
}

void drop_pending(Group& group) {
  drain_generation(group, group.pending_generation);
  group.pending_total = 0;
}

// A claim with a new total opens a generation; one that was pending until now gives way.
void open_generation(Group& group, const Admission& admission) {
  const bool open = group.pending_total != 0 && admission.generation == group.pending_generation;
  if (open || admission.generation == group.generation) {
    return;
  }
  if (group.pending_total != 0) {
    drop_pending(group);
  }
  group.pending_total = admission.total;
  group.pending_generation = admission.generation;
}

// The pending generation becomes the active one, and the old one drains.
void flip(Group& group) {
  drain_generation(group, group.generation);
  group.generation = group.pending_generation;
  group.total = group.pending_total;
  group.pending_total = 0;
  group.elastic = false;
  for (auto& [cookie, member] : group.members) {
    if (member.holds_in(group.generation)) {
      member.state = group.serving_state(member.instance);
    }
  }
}

// A seat keeps its slot and so its counters; only names change. Settings go with the instance that
// is still there.
void swap_names(Group& group, uint32_t hole, uint32_t mover, std::vector<Cookie>& renumbered) {
  const auto swapped = [&](uint32_t instance) {
    return instance == hole ? mover : instance == mover ? hole : instance;
  };
  for (Seat& seat : group.seats) {
    seat.instance = swapped(seat.instance);
  }
  for (auto& [cookie, member] : group.members) {
    if (swapped(member.instance) != member.instance) {
      member.instance = swapped(member.instance);
      renumbered.push_back(cookie);
    }
  }
  group.instances.erase(hole);
  if (auto settings = group.instances.extract(mover)) {
    settings.key() = hole;
    group.instances.insert(std::move(settings));
  }
}

// Numbers the instances of an elastic group 0..total-1 again after one has gone. Not while a
// generation is pending: its members have their own numbers, on seats of the same names.
void close_holes(Group& group, std::vector<Cookie>& renumbered) {
  if (!group.elastic || group.pending_total != 0) {
    return;
  }
  std::set<uint32_t> held = group.held_instances(group.generation);
  for (uint32_t hole = 0; hole < held.size(); ++hole) {
    if (!held.contains(hole)) {
      swap_names(group, hole, *held.rbegin(), renumbered);
      held.erase(std::prev(held.end()));
      held.insert(hole);
    }
  }
  group.total = std::max<uint32_t>(held.size(), 1);
  group.instances.erase(group.instances.lower_bound(held.size()), group.instances.end());
}

// Where nobody serves an instance, who waits to take it over does.
void serve_vacant(Group& group) {
  std::set<uint32_t> vacant;
  for (const auto& [cookie, member] : group.members) {
    if (group.waits(member)) {
      vacant.insert(member.instance);
    }
  }
  if (vacant.empty()) {
    return;  // as a rule, and then at each join of a large group
  }
  for (const auto& [cookie, member] : group.members) {
    if (member.holds_in(group.generation) && !group.waits(member)) {
      vacant.erase(member.instance);
    }
  }
  for (auto& [cookie, member] : group.members) {
    if (group.waits(member) && vacant.contains(member.instance)) {
      member.state = group.serving_state(member.instance);
    }
  }
}

// Of two lineages that hold one instance, as a daemon that starts finds them, the later one waits
// to take it over from the earlier one.
void wait_again(Group& group) {
  struct First {
    LineageId lineage = 0;
    Time since;
  };
  std::map<uint32_t, First> first;
  for (const auto& [cookie, member] : group.members) {
    if (!member.holds_in(group.generation) || group.waits(member)) {
      continue;
    }
    const auto [entry, fresh] =
        first.try_emplace(member.instance, First{member.lineage, member.since});
    if (!fresh && member.since < entry->second.since) {
      entry->second = {member.lineage, member.since};
    }
  }
  for (auto& [cookie, member] : group.members) {
    if (member.holds_in(group.generation) && member.state == MemberState::Active &&
        member.lineage != first.at(member.instance).lineage) {
      member.state = MemberState::Pending;
    }
  }
}

// What follows from a change: a pending generation without members goes; one that is complete, or
// stands alone, becomes active; an instance that somebody waits for is served; an elastic group has
// no holes.
std::vector<Cookie> settle(Group& group) {
  if (group.pending_total != 0) {
    const size_t pending = group.held_instances(group.pending_generation).size();
    const bool alone = group.held_instances(group.generation).empty();
    if (pending == 0) {
      drop_pending(group);
    } else if (alone || pending == group.pending_total) {
      flip(group);
    }
  }
  serve_vacant(group);
  std::vector<Cookie> renumbered;
  close_holes(group, renumbered);
  return renumbered;
}

// The new member has its seat already: an ordinal that is free now stays distinct from it.
void displace(Group& group, Cookie cookie) {
  const auto found = group.members.find(cookie);
  if (found == group.members.end()) {
    return;
  }
  Member& member = found->second;
  member.displaced = true;
  member.state = MemberState::Draining;
  const bool seated = member.slot < group.seats.size() && group.seats[member.slot].cookie == cookie;
  if (!seated) {
    member.slot = kNoSlot;
    member.ordinal = group.free_ordinal(member.instance);
  }
}

// The lineage that waits for this instance takes it over, with this member of it alone: its others
// begin when they are used.
void take_over(Group& group, Member& member) {
  std::vector<Cookie> holders;
  for (const auto& [cookie, other] : group.members) {
    if (other.holds_in(group.generation) && other.instance == member.instance &&
        other.lineage != member.lineage && !group.waits(other)) {
      holders.push_back(cookie);
    }
  }
  member.state = group.serving_state(member.instance);
  for (const Cookie cookie : holders) {
    displace(group, cookie);
  }
}

void identify(Member& member, const Claim& claim) {
  member.lineage = claim.lineage;
  member.pid = claim.pid;
  member.command = claim.command;
  member.cpus = claim.cpus;
}

// A socket that another process registers again was handed over, and with it the instance: its
// other members belong to the new lineage too, or the two would displace each other.
void register_again(Group& group, Member& member, const Claim& claim, const Admission& admission) {
  for (auto& [cookie, other] : group.members) {
    if (other.lineage == member.lineage && &other != &member && group.current(other) &&
        other.generation == member.generation && other.instance == member.instance) {
      other.lineage = claim.lineage;
    }
  }
  identify(member, claim);
  member.state = admission.state;
}

void enter(Group& group, const Claim& claim, const Admission& admission) {
  Member& member = group.members[claim.cookie];
  clear_seat(group, member);  // if it was a member elsewhere in the group
  member = {.cookie = claim.cookie,
            .slot = admission.slot,
            .instance = admission.instance,
            .ordinal = admission.ordinal,
            .generation = admission.generation,
            .state = admission.state,
            .since = claim.now};
  identify(member, claim);
  if (admission.slot == group.seats.size()) {
    group.seats.push_back({.instance = admission.instance, .ordinal = admission.ordinal});
  }
  if (admission.slot < group.seats.size()) {
    group.seats[admission.slot].cookie = claim.cookie;
  }
  for (const Cookie cookie : admission.displaced) {
    displace(group, cookie);
  }
}

}  // namespace

uint32_t Group::weight_of(uint32_t instance) const {
  const auto found = instances.find(instance);
  return found != instances.end() ? found->second.weight : kDefaultWeight;
}

bool Group::drained(uint32_t instance) const {
  const auto found = instances.find(instance);
  return found != instances.end() && found->second.drained;
}

uint32_t Group::active_members() const {
  return std::ranges::count(members, MemberState::Active,
                            [](const auto& entry) { return entry.second.state; });
}

bool Group::current(const Member& member) const {
  return member.holds_in(generation) || (pending_total != 0 && member.holds_in(pending_generation));
}

MemberState Group::serving_state(uint32_t instance) const {
  return drained(instance) ? MemberState::Draining : MemberState::Active;
}

bool Group::waits(const Member& member) const {
  return member.state == MemberState::Pending && member.holds_in(generation);
}

std::set<uint32_t> Group::held_instances(uint64_t of_generation) const {
  std::set<uint32_t> held;
  for (const auto& [cookie, member] : members) {
    if (member.holds_in(of_generation)) {
      held.insert(member.instance);
    }
  }
  return held;
}

uint32_t Group::free_ordinal(uint32_t instance) const {
  std::set<uint32_t> used;
  for (const Seat& seat : seats) {
    if (seat.instance == instance) {
      used.insert(seat.ordinal);
    }
  }
  for (const auto& [cookie, member] : members) {
    if (member.instance == instance) {
      used.insert(member.ordinal);
    }
  }
  uint32_t lowest = 0;
  while (used.contains(lowest)) {
    ++lowest;
  }
  return lowest;
}

Registry::Registry(uint32_t own_netns_inode, Quotas quotas)
    : own_netns_inode_(own_netns_inode), quotas_(quotas) {}

// --- who has how much ---------------------------------------------------------------------------

void Registry::count(const Group& group, int sign) {
  const auto add = [&](Usage& usage) {
    usage.groups += sign;
    usage.members += sign * static_cast<int64_t>(group.members.size());
    usage.instances += sign * static_cast<int64_t>(std::max(group.total, group.pending_total));
  };
  const auto its = usage_.try_emplace(group.key.uid).first;
  add(its->second);
  if (its->second.groups == 0) {
    usage_.erase(its);
  }
  if (group.key.uid != 0) {
    add(usage_of_all_);
  }
}

Registry::Usage Registry::usage_of(uint32_t uid) const {
  const auto found = usage_.find(uid);
  return found != usage_.end() ? found->second : Usage{};
}

// A group does not count while it changes, and counts as what it has become afterwards.
class Registry::Recount {
 public:
  Recount(Registry& registry, const Group& group) : registry_(registry), group_(group) {
    registry_.count(group_, -1);
  }
  Recount(const Recount&) = delete;
  Recount& operator=(const Recount&) = delete;
  ~Recount() { registry_.count(group_, +1); }

 private:
  Registry& registry_;
  const Group& group_;
};

// --- changes ------------------------------------------------------------------------------------

Group& Registry::group_for(const Claim& claim, const Admission& admission, GroupSerial serial) {
  const auto found = groups_.find(admission.group);
  if (found != groups_.end()) {
    return found->second;
  }
  Group group = founded_by(claim);
  group.serial = serial;
  return adopt(std::move(group));
}

Group& Registry::commit(const Claim& claim, const Admission& admission, GroupSerial serial) {
  Group& group = group_for(claim, admission, serial);
  const Recount recount(*this, group);
  by_member_[claim.cookie] = group.serial;
  const auto known = group.members.find(claim.cookie);
  if (admission.known && known != group.members.end()) {
    register_again(group, known->second, claim, admission);
  } else {
    open_generation(group, admission);
    if (admission.generation == group.generation && group.elastic) {
      group.total = admission.total;
    }
    enter(group, claim, admission);
  }
  if (claim.weight && group.current(group.members[claim.cookie])) {
    configure(group, admission.instance, [&](Instance& i) { i.weight = *claim.weight; });
  }
  group.empty_since.reset();
  settle(group);
  return group;
}

bool Registry::begin_use(GroupSerial serial, Cookie cookie) {
  const auto group = groups_.find(serial);
  if (group == groups_.end()) {
    return false;
  }
  const auto member = group->second.members.find(cookie);
  if (member == group->second.members.end() || !group->second.waits(member->second)) {
    return false;
  }
  take_over(group->second, member->second);
  return true;
}

std::optional<Departure> Registry::depart(GroupSerial serial, Cookie cookie, Time now) {
  const auto found = groups_.find(serial);
  if (found == groups_.end()) {
    return std::nullopt;
  }
  Group& group = found->second;
  const auto member = group.members.find(cookie);
  if (member == group.members.end()) {
    return std::nullopt;
  }
  const Recount recount(*this, group);
  by_member_.erase(cookie);
  clear_seat(group, member->second);
  Departure departure{.group = serial, .member = std::move(member->second)};
  group.members.erase(member);
  departure.renumbered = settle(group);
  if (group.members.empty()) {
    group.empty_since = now;
  }
  return departure;
}

Group& Registry::adopt(Group group) {
  by_key_[group.key] = group.serial;
  by_id_[group.id] = group.serial;
  for (const auto& [cookie, member] : group.members) {
    by_member_[cookie] = group.serial;
  }
  Group& kept = groups_.insert_or_assign(group.serial, std::move(group)).first->second;
  wait_again(kept);
  settle(kept);  // who died while no daemon ran may have left a generation complete, or alone
  count(kept, +1);
  return kept;
}

bool Registry::hold(GroupSerial serial, Cookie cookie) {
  const auto found = groups_.find(serial);
  if (found == groups_.end()) {
    return false;
  }
  const auto member = found->second.members.find(cookie);
  if (member == found->second.members.end() || member->second.state != MemberState::Active) {
    return false;
  }
  member->second.state = MemberState::Held;
  member->second.pid = 0;
  return true;
}

void Registry::set_process(GroupSerial serial, Cookie cookie, int32_t pid, const CpuSet& cpus) {
  auto group = groups_.find(serial);
  if (group == groups_.end()) return;
  auto member = group->second.members.find(cookie);
  if (member == group->second.members.end()) return;
  member->second.pid = pid;
  member->second.cpus = cpus;
}

void Registry::forget(GroupSerial serial) {
  const auto found = groups_.find(serial);
  if (found == groups_.end() || !found->second.members.empty()) {
    return;
  }
  const auto named = by_key_.find(found->second.key);
  if (named != by_key_.end() && named->second == serial) {
    by_key_.erase(named);
  }
  const auto called = by_id_.find(found->second.id);
  if (called != by_id_.end() && called->second == serial) {
    by_id_.erase(called);
  }
  count(found->second, -1);
  groups_.erase(found);
}

Result<Group*> Registry::changeable(GroupSerial serial, std::optional<uint32_t> instance) {
  const auto found = groups_.find(serial);
  if (found == groups_.end()) {
    return fail(ENOENT, "there is no such group");
  }
  Group& group = found->second;
  const uint32_t instances = std::max(group.total, group.pending_total);
  if (instance && *instance >= instances) {
    return fail(EINVAL, group.id + " has the instances 0 to " + std::to_string(instances - 1) +
                            ", not " + std::to_string(*instance));
  }
  return &group;
}

Result<void> Registry::set_drained(GroupSerial serial, std::optional<uint32_t> instance,
                                   bool drained) {
  const Result<Group*> found = changeable(serial, instance);
  if (!found) {
    return tl::unexpected<Error>(found.error());
  }
  Group& group = **found;
  std::set<uint32_t> which =
      drained ? group.held_instances(group.generation) : drained_instances(group);
  if (instance) {
    which = which.contains(*instance) ? std::set{*instance} : std::set<uint32_t>{};
  }
  if (which.empty()) {
    const std::string what =
        (instance ? "instance " + std::to_string(*instance) : "any instance") + " of " + group.id;
    return fail(ENOENT, drained ? "nobody holds " + what : "no operator has drained " + what);
  }
  for (auto& [cookie, member] : group.members) {
    if (group.waits(member) && which.contains(member.instance)) {
      take_over(group, member);  // nobody has to serve until it is used
    }
  }
  for (const uint32_t one : which) {
    configure(group, one, [&](Instance& i) { i.drained = drained; });
  }
  for (auto& [cookie, member] : group.members) {
    if (member.holds_in(group.generation) && member.state != MemberState::Held &&
        which.contains(member.instance)) {
      member.state = drained ? MemberState::Draining : MemberState::Active;
    }
  }
  return {};
}

Result<void> Registry::set_weight(GroupSerial serial, std::optional<uint32_t> instance,
                                  uint32_t weight) {
  const Result<Group*> found = changeable(serial, instance);
  if (!found) {
    return tl::unexpected<Error>(found.error());
  }
  if (weight < 1 || weight > kMaxWeight) {
    return fail(EINVAL, "weight " + std::to_string(weight) + " is not from 1 to " +
                            std::to_string(kMaxWeight));
  }
  Group& group = **found;
  const uint32_t first = instance.value_or(0);
  const uint32_t last = instance.value_or(std::max(group.total, group.pending_total) - 1);
  for (uint32_t one = first; one <= last; ++one) {
    configure(group, one, [&](Instance& i) { i.weight = weight; });
  }
  return {};
}

Result<void> Registry::set_mode(GroupSerial serial, Mode mode) {
  const Result<Group*> found = changeable(serial, std::nullopt);
  if (!found) {
    return tl::unexpected<Error>(found.error());
  }
  Group& group = **found;
  if (Result<void> suits = check_mode(mode, group.key.protocol); !suits) {
    return suits;
  }
  group.mode = mode;
  return {};
}

Result<Group*> Registry::with_pending(GroupSerial serial) {
  Result<Group*> found = changeable(serial, std::nullopt);
  if (found && (*found)->pending_total == 0) {
    return fail(ENOENT, (*found)->id + " has no pending generation");
  }
  return found;
}

Result<void> Registry::activate(GroupSerial serial) {
  const Result<Group*> found = with_pending(serial);
  if (!found) {
    return tl::unexpected<Error>(found.error());
  }
  const Recount recount(*this, **found);
  flip(**found);
  return {};
}

Result<void> Registry::abandon(GroupSerial serial) {
  const Result<Group*> found = with_pending(serial);
  if (!found) {
    return tl::unexpected<Error>(found.error());
  }
  const Recount recount(*this, **found);
  drop_pending(**found);
  settle(**found);
  return {};
}

const Group* Registry::find(GroupSerial serial) const {
  const auto found = groups_.find(serial);
  return found != groups_.end() ? &found->second : nullptr;
}

const Group* Registry::find(const GroupKey& key) const {
  const auto found = by_key_.find(key);
  return found != by_key_.end() ? find(found->second) : nullptr;
}

const Group* Registry::find_id(const std::string& id) const {
  const auto found = by_id_.find(id);
  return found != by_id_.end() ? find(found->second) : nullptr;
}

const Group* Registry::with_member(Cookie cookie) const {
  const auto found = by_member_.find(cookie);
  return found != by_member_.end() ? find(found->second) : nullptr;
}

std::vector<PlanMember> Registry::selectable(const Group& group) {
  std::vector<PlanMember> members;
  for (const auto& [cookie, member] : group.members) {
    const bool serves = member.state == MemberState::Active || member.state == MemberState::Held;
    if (serves && member.slot != kNoSlot && member.holds_in(group.generation) &&
        !group.drained(member.instance)) {
      members.push_back({.slot = member.slot,
                         .instance = member.instance,
                         .ordinal = member.ordinal,
                         .weight = group.weight_of(member.instance)});
    }
  }
  return members;
}

std::vector<std::pair<uint32_t, uint32_t>> Registry::vacant_weights(const Group& group) {
  std::vector<std::pair<uint32_t, uint32_t>> weights;
  for (const auto& [instance, settings] : group.instances) {
    weights.emplace_back(instance, settings.weight);
  }
  return weights;
}

bool may_change(const Group& group, uint32_t peer_uid) {
  return peer_uid == 0 || peer_uid == group.key.uid;
}

}  // namespace subset
