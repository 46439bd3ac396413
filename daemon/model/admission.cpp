// SPDX-License-Identifier: MIT
// The registry's decisions about a claim. Nothing here changes anything.
#include <algorithm>

#include "daemon/model/registry.h"

namespace subset {
namespace {

// 0xffff is kNoSlot, and the kernel's side counts slots in 16 bits.
constexpr size_t kMaxSeats = 65'534;

// The generation that a claim is about.
struct Target {
  uint32_t total = 0;
  uint64_t generation = 0;
};

struct Place {
  Slot slot = kNoSlot;
  uint32_t ordinal = 0;
};

Result<void> check_claim(const Claim& claim) {
  if (claim.cookie == 0) {
    return fail(EINVAL, "a socket without a cookie cannot be registered");
  }
  if (!claim.elastic && (claim.total < 1 || claim.total > kMaxTotal)) {
    return fail(EINVAL, "total " + std::to_string(claim.total) + " is not from 1 to " +
                            std::to_string(kMaxTotal));
  }
  if (!claim.elastic && claim.instance != kAnyInstance && claim.instance >= claim.total) {
    return fail(EINVAL, "instance " + std::to_string(claim.instance) + " of " +
                            std::to_string(claim.total) + ": instances count from 0");
  }
  if (claim.weight && (*claim.weight < 1 || *claim.weight > kMaxWeight)) {
    return fail(EINVAL, "weight " + std::to_string(*claim.weight) + " is not from 1 to " +
                            std::to_string(kMaxWeight));
  }
  return claim.mode ? check_mode(*claim.mode, claim.key.protocol) : Result<void>();
}

Target target_of(const Claim& claim, const Group& group) {
  if (claim.elastic || claim.total == group.total) {
    return {group.total, group.generation};
  }
  if (claim.total == group.pending_total) {
    return {group.pending_total, group.pending_generation};
  }
  return {claim.total, std::max(group.generation, group.pending_generation) + 1};
}

// A socket that drains for good stays so, whatever is asked for it: a helper that inherited it from
// an old server must not take the instance back from the new one. And in an elastic group the
// numbers are the registry's to give.
bool stays(const Claim& claim, const Group& group, const Member& member, const Target& target) {
  if (!group.current(member)) {
    return true;
  }
  if (member.generation != target.generation) {
    return false;
  }
  return (group.elastic && target.generation == group.generation) || claim.elastic ||
         claim.instance == kAnyInstance || claim.instance == member.instance;
}

MemberState state_in(const Group& group, const Target& target, uint32_t instance) {
  if (target.generation != group.generation) {
    return MemberState::Pending;
  }
  return group.serving_state(instance);
}

// Commands are the user's words: no control characters from there to a terminal.
std::string who(const Member& member) {
  std::string text = member.pid != 0 ? "pid " + std::to_string(member.pid) : "a process unseen";
  if (!member.command.empty()) {
    text += " (" + member.command + ")";
  }
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

// Members of other lineages that hold the instance, in the order of their ordinals.
std::vector<const Member*> rivals(const Claim& claim, const Group& group, const Target& target,
                                  uint32_t instance) {
  std::vector<const Member*> list;
  for (const auto& [cookie, member] : group.members) {
    if (member.holds_in(target.generation) && member.instance == instance &&
        member.lineage != claim.lineage && cookie != claim.cookie) {
      list.push_back(&member);
    }
  }
  std::ranges::sort(list, {}, &Member::ordinal);
  return list;
}

bool serves(const Group& group, LineageId lineage, uint32_t instance) {
  return std::ranges::any_of(group.members, [&](const auto& entry) {
    const Member& member = entry.second;
    return member.lineage == lineage && member.instance == instance &&
           member.holds_in(group.generation) && !group.waits(member);
  });
}

// Who already serves is not the one to decide about those who wait to take over from it.
void spare_waiting(std::vector<const Member*>& list, const Group& group, LineageId lineage,
                   uint32_t instance) {
  const auto waits = [&](const Member* member) { return group.waits(*member); };
  if (std::ranges::any_of(list, waits) && serves(group, lineage, instance)) {
    std::erase_if(list, waits);
  }
}

// A UDP socket queues what comes from its bind on, and its queue is short: where somebody serves
// the instance, who says when it begins to read takes over then.
bool may_wait(const Claim& claim, const Group& group, const Target& target,
              const std::vector<const Member*>& holders) {
  return claim.tells_use && claim.key.protocol == Protocol::Udp &&
         claim.conflict == Conflict::Takeover && target.generation == group.generation &&
         std::ranges::any_of(
             holders, [](const Member* holder) { return holder->state == MemberState::Active; });
}

// It is used now, and another lineage serves: it moves into that one's seat.
bool takes_over_now(const Claim& claim, const Group& group, const Member& member) {
  return group.waits(member) && !claim.tells_use &&
         !serves(group, member.lineage, member.instance) &&
         !serves(group, claim.lineage, member.instance);
}

// The vacant seat with the lowest ordinal, or else a new one.
Result<Place> vacant_seat(const Group& group, uint32_t instance) {
  std::optional<Place> vacant;
  for (size_t slot = 0; slot < group.seats.size(); ++slot) {
    const Seat& seat = group.seats[slot];
    if (seat.instance == instance && seat.cookie == 0 &&
        (!vacant || seat.ordinal < vacant->ordinal)) {
      vacant = Place{static_cast<Slot>(slot), seat.ordinal};
    }
  }
  if (vacant) {
    return *vacant;
  }
  if (group.seats.size() >= kMaxSeats) {
    return fail(ENOSPC, group.id + " has had " + std::to_string(kMaxSeats) +
                            " members, the most that a group can number");
  }
  return Place{static_cast<Slot>(group.seats.size()), group.free_ordinal(instance)};
}

// The seat of the first rival that has one: so the kernel replaces one socket by another.
Result<Place> place_for(const Group& group, uint32_t instance,
                        const std::vector<const Member*>& displaced) {
  for (const Member* member : displaced) {
    if (member->slot != kNoSlot) {
      return Place{member->slot, member->ordinal};
    }
  }
  return vacant_seat(group, instance);
}

// A socket that the daemon only keeps for an absent process is no reason to refuse one that is
// there.
Result<void> check_conflict(const Claim& claim, const Group& group, uint32_t instance,
                            const std::vector<const Member*>& holders) {
  if (claim.conflict == Conflict::Takeover) {
    return {};
  }
  for (const Member* holder : holders) {
    if (holder->state != MemberState::Held) {
      return fail(EBUSY, "instance " + std::to_string(instance) + " of " + group.id +
                             " is held by " + who(*holder));
    }
  }
  return {};
}

// The lowest instance of which the daemon alone keeps the sockets.
std::optional<uint32_t> absent_instance(const Group& group, uint64_t generation) {
  std::set<uint32_t> absent = group.held_instances(generation);
  for (const auto& [cookie, member] : group.members) {
    if (member.holds_in(generation) && member.state != MemberState::Held) {
      absent.erase(member.instance);
    }
  }
  return absent.empty() ? std::nullopt : std::optional(*absent.begin());
}

// What a user, or all together, may have, and the section of subsetd.toml that says so.
struct Ceiling {
  std::string whose;
  const char* section = "";
  int64_t groups = 0;
  int64_t members = 0;
  int64_t instances = 0;
};

Result<void> over(const Ceiling& ceiling, int64_t count, const char* what, int64_t limit,
                  const char* key) {
  return fail(ENOSPC, ceiling.whose + ": " + std::to_string(count) + " " + what +
                          "; the limit is " + std::to_string(limit) + " (" + key + " in [" +
                          ceiling.section + "] of subsetd.toml)");
}

// A service manager may pass one socket to several services, each of which says that it is another
// instance. They would take it from each other, and none would have its share.
Result<void> check_unshared(const Claim& claim, const Group& group, const Target& target) {
  const auto found = group.members.find(claim.cookie);
  if (found == group.members.end()) {
    return {};
  }
  const Member& member = found->second;
  if (member.generation != target.generation || member.lineage == claim.lineage ||
      member.pid == 0 || member.pid == claim.pid) {
    return {};
  }
  return fail(EBUSY, "this very socket is instance " + std::to_string(member.instance) + " of " +
                         group.id + " already, held by " + who(member) +
                         ": each instance needs a socket of its own (ReusePort=yes, a socket unit "
                         "for each)");
}

void add(std::string& warning, const std::string& more) {
  warning += (warning.empty() ? "" : "; ") + more;
}

std::string warnings(const Claim& claim, const Group& group, const Admission& admission) {
  std::string text;
  if (claim.mode && *claim.mode != group.mode) {
    add(text, std::string("mode stays ") + name_of(group.mode) + " (asked " + name_of(*claim.mode) +
                  "); change it with: subset mode " + group.id + " " + name_of(*claim.mode));
  }
  if (claim.vacancy && *claim.vacancy != group.vacancy) {
    add(text, std::string("vacancy stays ") + name_of(group.vacancy) + " (asked " +
                  name_of(*claim.vacancy) + "): the first socket of " + group.id + " decided");
  }
  if (admission.state == MemberState::Draining && group.drained(admission.instance)) {
    const std::string instance = std::to_string(admission.instance);
    add(text, "instance " + instance + " is drained: it gets no traffic until: subset resume " +
                  group.id + " " + instance);
  }
  if (group.pending_total != 0 && admission.generation > group.pending_generation) {
    add(text, "the pending generation of " + std::to_string(group.pending_total) +
                  " gives way to one of " + std::to_string(admission.total) +
                  ": its members drain");
  }
  return text;
}

void displace_all(Admission& admission, const std::vector<const Member*>& members) {
  for (const Member* member : members) {
    admission.displaced.push_back(member->cookie);
  }
}

Admission readmission(const Claim& claim, const Group& group, const Member& member,
                      const Target& target) {
  Admission admission{.group = group.serial,
                      .known = true,
                      .slot = member.slot,
                      .instance = member.instance,
                      .ordinal = member.ordinal,
                      .total = target.total,
                      .generation = member.generation,
                      .state = MemberState::Draining,
                      .mode = group.mode,
                      .vacancy = group.vacancy,
                      .weight = group.weight_of(member.instance)};
  if (!group.current(member)) {
    admission.warning =
        "this socket of " + group.id + " has been replaced: it gets no new traffic; open a new one";
    return admission;
  }
  admission.state = state_in(group, target, member.instance);
  if (group.waits(member) && claim.tells_use) {
    admission.waits = true;
    admission.state = MemberState::Pending;
  }
  admission.weight = claim.weight.value_or(admission.weight);
  admission.warning = warnings(claim, group, admission);
  return admission;
}

Result<Admission> admission_to(const Claim& claim, const Group& group, const Target& target,
                               uint32_t instance) {
  std::vector<const Member*> displaced = rivals(claim, group, target, instance);
  spare_waiting(displaced, group, claim.lineage, instance);
  if (const Result<void> free = check_conflict(claim, group, instance, displaced); !free) {
    return tl::unexpected<Error>(free.error());
  }
  const bool waits = may_wait(claim, group, target, displaced);
  if (waits) {
    std::erase_if(displaced, [&](const Member* member) { return !group.waits(*member); });
  }
  const Result<Place> place = place_for(group, instance, displaced);
  if (!place) {
    return tl::unexpected<Error>(place.error());
  }
  Admission admission{.group = group.serial,
                      .slot = place->slot,
                      .instance = instance,
                      .ordinal = place->ordinal,
                      .total = std::max(target.total, instance + 1),  // an elastic group grows
                      .generation = target.generation,
                      .state = waits ? MemberState::Pending : state_in(group, target, instance),
                      .waits = waits,
                      .mode = group.mode,
                      .vacancy = group.vacancy,
                      .weight = claim.weight.value_or(group.weight_of(instance))};
  displace_all(admission, displaced);
  const auto old = group.members.find(claim.cookie);
  if (old != group.members.end() && old->second.slot != kNoSlot) {
    admission.vacates = old->second.slot;
  }
  admission.warning = warnings(claim, group, admission);
  return admission;
}

}  // namespace

Result<void> check_mode(Mode mode, Protocol protocol) {
  if (mode == Mode::Least && protocol != Protocol::Tcp) {
    return fail(EINVAL, "mode least needs TCP: it counts open connections");
  }
  if (mode == Mode::Random && protocol != Protocol::Udp) {
    return fail(EINVAL, "mode random needs UDP: it picks a member for each datagram");
  }
  return {};
}

Result<Admission> Registry::admit(const Claim& claim) const {
  if (const Result<void> valid = check_claim(claim); !valid) {
    return tl::unexpected<Error>(valid.error());
  }
  const Group* found = find(claim.key);
  const Group founded = found == nullptr ? founded_by(claim) : Group{};
  const Group& group = found == nullptr ? founded : *found;
  const Target target = target_of(claim, group);

  const auto member = group.members.find(claim.cookie);
  if (member != group.members.end() && stays(claim, group, member->second, target)) {
    if (takes_over_now(claim, group, member->second)) {
      Claim let_in = claim;
      let_in.conflict = Conflict::Takeover;  // it was, when it began to wait
      return admission_to(let_in, group, target, member->second.instance);
    }
    return readmission(claim, group, member->second, target);
  }
  if (const Result<void> unshared = check_unshared(claim, group, target); !unshared) {
    return tl::unexpected<Error>(unshared.error());
  }
  if (const Result<void> within = check_quotas(claim, group); !within) {
    return tl::unexpected<Error>(within.error());
  }
  const Result<uint32_t> instance = choose_instance(claim, group, target.total, target.generation);
  if (!instance) {
    return tl::unexpected<Error>(instance.error());
  }
  Result<Admission> admission = admission_to(claim, group, target, *instance);
  if (!admission) {
    return admission;
  }
  if (const Result<void> within = check_instances(claim, group, *admission); !within) {
    return tl::unexpected<Error>(within.error());
  }
  return admission;
}

// The group as its first claim makes it, still without members and serial number.
Group Registry::founded_by(const Claim& claim) const {
  Group group;
  group.key = claim.key;
  group.id = unique_id(claim.key);
  group.mode = claim.mode.value_or(Mode::Hash);
  group.vacancy = claim.vacancy.value_or(Vacancy::Spread);
  group.elastic = claim.elastic;
  group.total = claim.elastic ? 1 : claim.total;
  return group;
}

// The id that people know says less than the key: where two keys share it, the later group's says
// in which respect it differs. With all parts it is as distinct as the key.
std::string Registry::unique_id(const GroupKey& key) const {
  const std::string plain = group_id(key, own_netns_inode_);
  const std::string parts[] = {key.device != 0 ? "%" + std::to_string(key.device) : "",
                               key.v6only ? "#v6only" : "", "#" + std::to_string(key.uid),
                               "#" + std::to_string(key.netns_cookie)};
  std::string id = plain;
  size_t behind_address = plain.rfind(':');
  for (const std::string& part : parts) {
    if (find_id(id) == nullptr) {
      break;
    }
    id.insert(behind_address, part);
    behind_address += part.size();
  }
  return id;
}

// `check` what the user has, and what all have together, against what they may have.
template <typename Check>
Result<void> Registry::within_quotas(uint32_t uid, const Check& check) const {
  if (uid == 0) {
    return {};
  }
  const Ceiling own{"user " + std::to_string(uid), "quotas", quotas_.groups_per_user,
                    quotas_.members_per_user, quotas_.instances_per_user};
  if (Result<void> within = check(usage_of(uid), own); !within) {
    return within;
  }
  return check(usage_of_all(),
               Ceiling{"all users", "limits", quotas_.groups, quotas_.members, quotas_.instances});
}

// Groups and members: known without a look at anybody's groups.
Result<void> Registry::check_quotas(const Claim& claim, const Group& group) const {
  if (group.members.contains(claim.cookie)) {
    return {};
  }
  return within_quotas(claim.key.uid, [&](const Usage& usage, const Ceiling& ceiling) {
    if (group.serial == 0 && usage.groups >= ceiling.groups) {
      return over(ceiling, usage.groups, "groups", ceiling.groups, "groups");
    }
    if (usage.members >= ceiling.members) {
      return over(ceiling, usage.members, "sockets in groups", ceiling.members, "members");
    }
    return Result<void>();
  });
}

// The members of a group ask for other totals too, and an elastic one grows by those who come.
Result<void> Registry::check_instances(const Claim& claim, const Group& group,
                                       const Admission& admission) const {
  const bool is_new = group.serial == 0;
  const bool joins_active = admission.generation == group.generation;
  const int64_t before = is_new ? 0 : std::max(group.total, group.pending_total);
  const int64_t after = std::max(joins_active ? group.pending_total : group.total, admission.total);
  if (after <= before) {
    return {};
  }
  return within_quotas(claim.key.uid, [&](const Usage& usage, const Ceiling& ceiling) {
    const int64_t all = usage.instances + after - before;
    if (all <= ceiling.instances) {
      return Result<void>();
    }
    return over(ceiling, all, "instances in all groups", ceiling.instances, "instances");
  });
}

// A server that binds several addresses is the same instance in all of them. Groups of the same
// user only: so the search is bounded by that user's quota.
std::optional<uint32_t> Registry::instance_elsewhere(const Claim& claim, const Group& group,
                                                     uint32_t total,
                                                     const std::set<uint32_t>& held) const {
  for (const auto& [serial, other] : groups_) {
    if (serial == group.serial || other.key.uid != claim.key.uid) {
      continue;
    }
    for (const auto& [cookie, member] : other.members) {
      const uint32_t its_total =
          member.generation == other.generation ? other.total : other.pending_total;
      if (member.lineage == claim.lineage && other.current(member) && its_total == total &&
          !held.contains(member.instance)) {
        return member.instance;
      }
    }
  }
  return std::nullopt;
}

Result<uint32_t> Registry::choose_instance(const Claim& claim, const Group& group, uint32_t total,
                                           uint64_t generation) const {
  if (!claim.elastic && claim.instance != kAnyInstance) {
    return claim.instance;
  }
  std::optional<uint32_t> own;
  for (const auto& [cookie, member] : group.members) {
    if (member.lineage == claim.lineage && member.holds_in(generation)) {
      own = std::min(own.value_or(kAnyInstance), member.instance);
    }
  }
  if (own) {
    return *own;
  }
  const std::set<uint32_t> held = group.held_instances(generation);
  const bool grows = claim.elastic && group.elastic;
  if (!grows) {
    if (const auto elsewhere = instance_elsewhere(claim, group, total, held)) {
      return *elsewhere;
    }
  }
  const uint32_t limit = grows ? kMaxTotal : total;
  uint32_t lowest = 0;
  while (held.contains(lowest)) {
    ++lowest;
  }
  if (lowest >= limit) {
    if (const auto absent = absent_instance(group, generation)) {
      return *absent;
    }
    return fail(EBUSY, "no vacant instance of " + std::to_string(limit) + " in " + group.id);
  }
  return lowest;
}

}  // namespace subset
