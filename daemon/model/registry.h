// SPDX-License-Identifier: MIT
// The registry: which groups there are, who holds which instance with which members, and what a
// registration, a departure or an operator's change makes of that. Pure: a decision is made first
// (admit), carried out by the kernel's side, and only then written down (commit), so that a failed
// system call leaves the registry as it was.
//
// A *seat* is a slot with its name: (instance, ordinal). Its counters live in the kernel under the
// slot and outlive its socket; the next holder of the seat goes on counting where the last one
// stopped, so no counter goes back and `selected` always sums to the group's selections. Takeover
// seats the newcomer in the old holder's seat: the kernel replaces the socket in one atomic store
// (BPF_ANY), and the old socket, out of the map, drains under a fresh ordinal.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/planner.h"
#include "daemon/model/types.h"

namespace subset {

// What a process asks for and what its socket is: everything that a registration decides on.
struct Claim {
  GroupKey key;
  Cookie cookie = 0;
  LineageId lineage = 0;
  uint32_t total = 0;  // 0 with elastic
  uint32_t instance = kAnyInstance;
  bool elastic = false;            // SUBSET=auto
  std::optional<Mode> mode;        // empty: the group's, or hash
  std::optional<Vacancy> vacancy;  // empty: the group's, or spread
  std::optional<uint32_t> weight;  // empty: the instance's, or 100
  Conflict conflict = Conflict::Takeover;
  int32_t pid = 0;  // 0: not visible from the daemon's pid namespace
  std::string command;
  CpuSet cpus;
  Time now{};
};

struct Member {
  Cookie cookie = 0;
  LineageId lineage = 0;
  Slot slot = kNoSlot;  // kNoSlot: out of the map (displaced, drains)
  uint32_t instance = 0;
  uint32_t ordinal = 0;
  uint64_t generation = 1;
  MemberState state = MemberState::Active;
  int32_t pid = 0;
  std::string command;
  CpuSet cpus;
  Time since{};
};

struct Seat {
  uint32_t instance = 0;
  uint32_t ordinal = 0;
  Cookie cookie = 0;  // of the member in it; 0: vacant
};

struct Instance {
  uint32_t weight = kDefaultWeight;
  bool drained = false;  // by the operator
};

struct Group {
  GroupSerial serial = 0;
  GroupKey key;
  std::string id;
  Mode mode = Mode::Hash;
  Vacancy vacancy = Vacancy::Spread;
  bool elastic = false;
  uint32_t total = 1;          // of the active generation
  uint64_t generation = 1;     // number of the active one
  uint32_t pending_total = 0;  // 0: no generation is pending
  uint64_t pending_generation = 0;
  std::vector<Seat> seats;                 // indexed by slot; never shrinks
  std::map<uint32_t, Instance> instances;  // what differs from the default, by instance
  std::map<Cookie, Member> members;
  std::optional<Time> empty_since;  // when its last member left

  uint32_t weight_of(uint32_t instance) const;
  bool drained(uint32_t instance) const;
  uint32_t active_members() const;
};

// What admitting a claim would do.
struct Admission {
  GroupSerial group = 0;  // 0: a new group
  bool known = false;     // this very socket is a member already, of the same instance
  Slot slot = kNoSlot;
  uint32_t instance = 0;
  uint32_t ordinal = 0;
  uint32_t total = 0;  // of the generation it joins
  uint64_t generation = 1;
  MemberState state = MemberState::Active;
  Mode mode = Mode::Hash;  // of a new group
  Vacancy vacancy = Vacancy::Spread;
  uint32_t weight = kDefaultWeight;
  std::vector<Cookie> displaced;  // members that drain from now on
  std::optional<Slot> vacates;  // the slot this socket had until now (it moves to another instance)
  std::string warning;          // for the process' log, or empty
};

// What went, for the log and the events.
struct Departure {
  GroupSerial group = 0;
  Member member;
};

struct Quotas {
  uint32_t groups_per_user = 256;
  uint32_t members_per_user = 8192;
};

class Registry {
 public:
  explicit Registry(uint32_t own_netns_inode, Quotas quotas = {});

  // Decides; changes nothing. Errors: EINVAL, EBUSY (held, policy refuse), ENOSPC (quota of
  // key.uid, no vacant instance for kAnyInstance: EBUSY), with text for the user.
  Result<Admission> admit(const Claim& claim) const;

  // Writes the decision down. For a new group `serial` names it; otherwise it is ignored.
  Group& commit(const Claim& claim, const Admission& admission, GroupSerial serial);

  // A socket is gone, or left. Empty if no group has it.
  std::optional<Departure> depart(GroupSerial group, Cookie cookie, Time now);

  // A daemon that starts writes down what it found in pins and tags.
  Group& adopt(Group group);

  // Removes a group that has no member.
  void forget(GroupSerial group);

  // Operator's changes. `instance` empty: all. Errors: EINVAL, ENOENT with text.
  Result<void> set_drained(GroupSerial group, std::optional<uint32_t> instance, bool drained);
  Result<void> set_weight(GroupSerial group, std::optional<uint32_t> instance, uint32_t weight);
  Result<void> set_mode(GroupSerial group, Mode mode);
  Result<void> activate(GroupSerial group);  // the pending generation, complete or not
  Result<void> abandon(GroupSerial group);   // the pending generation

  const Group* find(GroupSerial serial) const;
  const Group* find(const GroupKey& key) const;
  const Group* find_id(const std::string& id) const;
  const Group* with_member(Cookie cookie) const;
  const std::map<GroupSerial, Group>& groups() const { return groups_; }

  // Members that may be selected now: the planner's input.
  static std::vector<PlanMember> selectable(const Group& group);

 private:
  uint32_t own_netns_inode_;
  Quotas quotas_;
  std::map<GroupSerial, Group> groups_;
};

// May this peer change this group? Root and the owner of its sockets.
bool may_change(const Group& group, uint32_t peer_uid);

}  // namespace subset
