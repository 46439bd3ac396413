// SPDX-License-Identifier: MIT
// Which held socket a process gets that is about to bind. Nothing here changes anything.
#include <algorithm>
#include <map>

#include "daemon/model/registry.h"

namespace subset {
namespace {

// The held member of the lowest ordinal of each instance that this lineage may have: nobody lives
// in it, or only itself does. Next to a living member of another lineage there is no hand-over:
// that one is taken over, with all it has.
std::map<uint32_t, const Member*> vacant_by_death(const Group& group, LineageId lineage) {
  std::map<uint32_t, const Member*> held;
  std::set<uint32_t> others;
  for (const auto& [cookie, member] : group.members) {
    if (!member.holds_in(group.generation)) {
      continue;
    }
    if (member.state == MemberState::Held) {
      const Member*& first = held[member.instance];
      if (first == nullptr || member.ordinal < first->ordinal) {
        first = &member;
      }
    } else if (member.lineage != lineage) {
      others.insert(member.instance);
    }
  }
  for (const uint32_t instance : others) {
    held.erase(instance);
  }
  return held;
}

// Instances that are of no use to the lineage.
std::set<uint32_t> taken(const Group& group, const std::map<uint32_t, const Member*>& held) {
  std::set<uint32_t> instances = group.held_instances(group.generation);
  for (const auto& [instance, member] : held) {
    instances.erase(instance);
  }
  return instances;
}

std::optional<uint32_t> own_instance(const Group& group, LineageId lineage) {
  std::optional<uint32_t> own;
  for (const auto& [cookie, member] : group.members) {
    if (member.lineage == lineage && member.state != MemberState::Held &&
        member.holds_in(group.generation)) {
      own = std::min(own.value_or(kAnyInstance), member.instance);
    }
  }
  return own;
}

}  // namespace

std::optional<Cookie> Registry::find_held(const Claim& claim) const {
  const Group* group = find(claim.key);
  if (group == nullptr || group->vacancy != Vacancy::Hold ||
      (!claim.elastic && claim.total != group->total)) {
    return std::nullopt;
  }
  const auto held = vacant_by_death(*group, claim.lineage);
  if (held.empty()) {
    return std::nullopt;
  }
  uint32_t instance = claim.instance;
  if (claim.elastic || instance == kAnyInstance) {
    std::optional<uint32_t> chosen = own_instance(*group, claim.lineage);
    if (!chosen && !group->elastic) {
      chosen = instance_elsewhere(claim, *group, claim.total, taken(*group, held));
    }
    instance = chosen.value_or(held.begin()->first);
  }
  const auto found = held.find(instance);
  return found != held.end() ? std::optional(found->second->cookie) : std::nullopt;
}

bool lives_without(const Group& group, const Member& member, const std::set<Cookie>& gone) {
  return std::ranges::any_of(group.members, [&](const auto& entry) {
    const auto& [cookie, other] = entry;
    return cookie != member.cookie && other.instance == member.instance &&
           other.holds_in(member.generation) && other.state != MemberState::Held &&
           !gone.contains(cookie);
  });
}

}  // namespace subset
