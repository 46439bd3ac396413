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
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/planner.h"
#include "daemon/model/quotas.h"
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
  bool tells_use = false;    // claims again when the socket is first used: a takeover may wait
  int32_t pid = 0;           // 0: not visible from the daemon's pid namespace
  uint32_t process_uid = 0;  // its user, who need not be the owner of the socket
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
  bool displaced = false;  // by a newcomer: drains for good
  MemberState state = MemberState::Active;
  int32_t pid = 0;
  std::string command;
  CpuSet cpus;
  Time since{};

  // Is the instance, in that generation, this member's lineage's?
  bool holds_in(uint64_t of_generation) const { return !displaced && generation == of_generation; }
  bool operator==(const Member&) const = default;
};

struct Seat {
  uint32_t instance = 0;
  uint32_t ordinal = 0;
  Cookie cookie = 0;  // of the member in it; 0: vacant
  bool operator==(const Seat&) const = default;
};

struct Instance {
  uint32_t weight = kDefaultWeight;
  bool drained = false;  // by the operator
  bool operator==(const Instance&) const = default;
};

struct Group {
  GroupSerial serial = 0;
  GroupKey key;
  std::string id;
  Mode mode = Mode::Hash;
  Vacancy vacancy = Vacancy::Spread;
  bool elastic = false;
  uint32_t total = 1;               // of the active generation
  uint64_t generation = 1;          // number of the active one
  uint32_t pending_total = 0;       // 0: no generation is pending
  uint64_t pending_generation = 0;  // the number of the pending one, or of the last that was:
                                    // numbers are not used twice
  std::vector<Seat> seats;          // indexed by slot; never shrinks
  std::map<uint32_t, Instance> instances;  // what differs from the default, by instance
  std::map<Cookie, Member> members;
  std::optional<Time> empty_since;  // when its last member left

  uint32_t weight_of(uint32_t instance) const;
  bool drained(uint32_t instance) const;
  // Of a member that holds the instance in the active generation, and is not held itself.
  MemberState serving_state(uint32_t instance) const;
  uint32_t active_members() const;
  // Of the active or the pending generation and not displaced; others drain for good.
  bool current(const Member& member) const;
  // A member of the active generation that takes its instance over when it is first used: until
  // then another lineage serves.
  bool waits(const Member& member) const;
  std::set<uint32_t> held_instances(uint64_t of_generation) const;
  // The lowest that neither a seat nor a member of the instance has.
  uint32_t free_ordinal(uint32_t instance) const;
  bool operator==(const Group&) const = default;
};

// What admitting a claim would do.
struct Admission {
  GroupSerial group = 0;  // 0: a new group
  bool known = false;     // this very socket is a member already, and stays where it is; if it
                          // was displaced, without a slot
  Slot slot = kNoSlot;
  uint32_t instance = 0;
  uint32_t ordinal = 0;
  uint32_t total = 0;  // of the generation it joins
  uint64_t generation = 1;
  MemberState state = MemberState::Active;  // Pending even if this member completes the generation
  bool waits = false;      // Pending in the active generation: takes over when it is first used
  Mode mode = Mode::Hash;  // of the group
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
  std::vector<Cookie> renumbered;  // members of an elastic group that have another instance now
};

// EINVAL, with text, where the protocol has no use for the mode.
Result<void> check_mode(Mode mode, Protocol protocol);

class Registry {
 public:
  explicit Registry(uint32_t own_netns_inode, Quotas quotas = {});

  // Decides; changes nothing. The decision holds until something else changes the registry: commit
  // it, or drop it, before the next one is asked for. Errors: EINVAL, EBUSY (held, policy refuse),
  // ENOSPC (quota of key.uid, no vacant instance for kAnyInstance: EBUSY), with text for the user.
  Result<Admission> admit(const Claim& claim) const;

  // Writes the decision down. For a new group `serial` names it; otherwise it is ignored. May make
  // the pending generation the active one (then members change their states), or end a pending one
  // for which an elastic group waited (then its instances may be renumbered, as in a departure).
  Group& commit(const Claim& claim, const Admission& admission, GroupSerial serial);

  // A member that waits is used, or has waited long enough: its lineage takes the instance over.
  // False if it does not wait.
  bool begin_use(GroupSerial group, Cookie cookie);

  // A socket is gone, or left. Empty if no group has it.
  std::optional<Departure> depart(GroupSerial group, Cookie cookie, Time now);

  // A daemon that starts writes down what it found in pins and tags.
  Group& adopt(Group group);

  // The member's process is gone, but the daemon keeps its socket (vacancy `hold`): traffic queues
  // in it until a process claims that very socket. False unless it is an active member.
  bool hold(GroupSerial group, Cookie cookie);

  // The held socket that this claim, whose own socket is not bound yet, is to get instead: of its
  // instance, or where that is open, of the lowest that is held. Each is found until it is claimed,
  // those of one instance in the order of their ordinals: so the n-th bind of a new process gets
  // the n-th socket of the old one.
  std::optional<Cookie> find_held(const Claim& claim) const;

  // The process that holds a member is another one, or may use other CPUs; pid 0: not known.
  void set_process(GroupSerial group, Cookie cookie, int32_t pid, const CpuSet& cpus);

  // Removes a group that has no member.
  void forget(GroupSerial group);

  // Operator's changes. `instance` empty: all. Errors: EINVAL, ENOENT with text. What an operator
  // drained stays so for whoever registers there, until it is resumed.
  Result<void> set_drained(GroupSerial group, std::optional<uint32_t> instance, bool drained);
  Result<void> set_weight(GroupSerial group, std::optional<uint32_t> instance, uint32_t weight);
  Result<void> set_mode(GroupSerial group, Mode mode);
  Result<void> activate(GroupSerial group);  // the pending generation, complete or not
  Result<void> abandon(GroupSerial group);   // the pending generation; may renumber, like commit

  // The id of a group with this key; where another group has the plain one, with a suffix.
  std::string unique_id(const GroupKey& key) const;

  const Group* find(GroupSerial serial) const;
  const Group* find(const GroupKey& key) const;
  const Group* find_id(const std::string& id) const;
  const Group* with_member(Cookie cookie) const;
  const std::map<GroupSerial, Group>& groups() const { return groups_; }

  // What quotas limit: of the groups of one user, and of those of all users but root.
  struct Usage {
    int64_t groups = 0;
    int64_t members = 0;
    int64_t instances = 0;
    bool operator==(const Usage&) const = default;
  };
  Usage usage_of(uint32_t uid) const;
  Usage usage_of_all() const { return usage_of_all_; }

  // Members that may be selected now, held ones too: the planner's input.
  static std::vector<PlanMember> selectable(const Group& group);

  // What the planner needs to know of instances that nobody holds.
  static std::vector<std::pair<uint32_t, uint32_t>> vacant_weights(const Group& group);

 private:
  Group founded_by(const Claim& claim) const;
  template <typename Check>
  Result<void> within_quotas(uint32_t uid, const Check& check) const;
  Result<void> check_quotas(const Claim& claim, const Group& group) const;
  Result<void> check_instances(const Claim& claim, const Group& group,
                               const Admission& admission) const;
  std::optional<uint32_t> instance_elsewhere(const Claim& claim, const Group& group, uint32_t total,
                                             const std::set<uint32_t>& held) const;
  Result<uint32_t> choose_instance(const Claim& claim, const Group& group, uint32_t total,
                                   uint64_t generation) const;
  class Recount;
  void count(const Group& group, int sign);
  Group& group_for(const Claim& claim, const Admission& admission, GroupSerial serial);
  Result<Group*> changeable(GroupSerial serial, std::optional<uint32_t> instance);
  Result<Group*> with_pending(GroupSerial serial);

  uint32_t own_netns_inode_;
  Quotas quotas_;
  std::map<GroupSerial, Group> groups_;
  std::map<GroupKey, GroupSerial> by_key_;
  std::unordered_map<std::string, GroupSerial> by_id_;
  std::unordered_map<Cookie, GroupSerial> by_member_;

  // Kept along, since each registration of a user who is at a limit asks.
  std::unordered_map<uint32_t, Usage> usage_;  // by user, of those who have a group
  Usage usage_of_all_;                         // but root
};

// Does the member's instance have another current member, beside those that are held or in `gone`?
bool lives_without(const Group& group, const Member& member, const std::set<Cookie>& gone);

// May this peer change this group? Root and the owner of its sockets.
bool may_change(const Group& group, uint32_t peer_uid);

}  // namespace subset
