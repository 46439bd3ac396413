// SPDX-License-Identifier: MIT
// Sockets that join and leave, and operators' changes: decide (registry), do (kernel), write down.
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"
#include "daemon/kernel/process.h"
#include "daemon/model/hold.h"
#include "daemon/model/pace.h"

namespace subset {
namespace {

GroupSerial random_serial() {
  GroupSerial serial = 0;
  while (serial == 0) (void)!getrandom(&serial, sizeof serial, 0);
  return serial;
}

subset_tag tag_of(const Claim& claim, const Admission& admission, GroupSerial serial,
                  uint32_t counter, Time joined) {
  using std::chrono::nanoseconds;
  const auto since = std::chrono::duration_cast<nanoseconds>(joined.time_since_epoch());
  subset_tag tag{};
  tag.group = serial;
  tag.lineage = claim.lineage;
  tag.since_ns = static_cast<uint64_t>(since.count());
  tag.generation = admission.generation;
  tag.total = admission.total;
  tag.instance = admission.instance;
  tag.ordinal = admission.ordinal;
  tag.slot = admission.slot;
  tag.pid = claim.pid;
  tag.counter = counter;
  claim.command.copy(tag.command, sizeof tag.command - 1);
  return tag;
}

// EPERM is the daemon's no to a user, with which a server's bind fails. Where it is the kernel that
// says so to the daemon, the server goes on with the kernel's hash.
Error not_a_refusal(Error error) {
  if (error.code == EPERM) error.code = EACCES;
  return error;
}

}  // namespace

// 0 where there is none left: who is not counted is steered all the same.
uint32_t Groups::counter_for(const Claim& claim) {
  if (claim.key.protocol != Protocol::Tcp) return 0;
  if (auto known = counters_.find(claim.cookie); known != counters_.end()) return known->second;
  const auto counter = around_.watch->take_counter(counters_in_use_);
  if (!counter) return 0;
  counters_in_use_[*counter] = true;
  counters_[claim.cookie] = *counter;
  return *counter;
}

// The kernel's side goes on counting down in it while connections are open: it is taken again only
// when it is 0.
void Groups::free_counter(Cookie cookie) {
  auto counter = counters_.find(cookie);
  if (counter == counters_.end()) return;
  counters_in_use_[counter->second] = false;
  counters_.erase(counter);
}

Result<void> Groups::make_runtime(const Claim& claim, const Admission& admission,
                                  GroupSerial serial) {
  if (auto pinnable = keep_shared_pins(); !pinnable) return fail(pinnable.error(), "new group");
  const Shape shape = initial_shape(claim.key, admission.mode, admission.vacancy, admission.total,
                                    around_.topology);
  auto steering = kernel::Steering::create(around_.pins, *around_.watch, serial, shape);
  if (!steering) return fail(steering.error(), "new group");
  runtimes_[serial].steering = std::move(*steering);
  manage_port(claim.key);
  return {};
}

Result<void> Groups::make_room(const Group* group, Runtime& runtime, const Admission& admission) {
  if (!group || admission.slot < runtime.steering->capacity()) return {};
  TablePlan plan = plan_for(*group, runtime);
  // There is one chance to grow: for all that is announced.
  const uint32_t announced = std::max(admission.total, group->pending_total);
  plan.shape.slots = admission.slot + 1u + (group->elastic ? kMaxTotal : announced);
  if (auto done = runtime.steering->publish(plan.shape, plan.table); !done) return done;
  runtime.plan = std::move(plan.state);
  return {};
}

// In an order that leaves no wrong moment: the counter is named before the listener can be picked;
// the tag comes before the slot, so that a daemon killed in between finds a tag without a seat and
// not a seat without a tag. Attaching again what is attached costs a microsecond.
Result<std::string> Groups::seat(const Claim& claim, const Admission& admission, GroupSerial serial,
                                 int socket) {
  Runtime& runtime = runtimes_.at(serial);
  kernel::Steering& steering = *runtime.steering;
  const Group* group = registry_.find(admission.group);
  if (auto room = make_room(group, runtime, admission); !room) return tl::unexpected(room.error());
  const uint32_t counter = counter_for(claim);
  const Time since = admission.known ? group->members.at(claim.cookie).since : claim.now;
  if (auto done = around_.watch->tag(socket, tag_of(claim, admission, serial, counter, since));
      !done)
    return tl::unexpected(done.error());
  auto foreign = attach(steering, socket);
  if (!foreign || admission.slot == kNoSlot) return foreign;
  if (admission.vacates) {
    if (auto done = steering.remove(*admission.vacates); !done) return tl::unexpected(done.error());
  }
  if (auto done = steering.set_counter(admission.slot, counter); !done)
    return tl::unexpected(done.error());
  // A listener that was shut down has left its slot, one that listens again has not.
  if (steering.occupant(admission.slot) == claim.cookie) return foreign;
  if (auto done = steering.insert(admission.slot, socket); !done)
    return tl::unexpected(done.error());
  return foreign;
}

bool Groups::is_held_by_other(const Claim& claim) const {
  const Group* group = registry_.with_member(claim.cookie);
  return group && group->members.at(claim.cookie).pid != claim.pid;
}

void Groups::report_join(const Group& group, const Claim& claim, const Admission& admission,
                         uint64_t generation_before, bool handed_over) {
  const bool takeover = !admission.displaced.empty();
  if (!admission.known) {
    tell_({.what = takeover && !admission.waits ? "took over" : "joined",
           .group = group.id,
           .instance = admission.instance,
           .pid = claim.pid,
           .command = claim.command,
           .detail = std::to_string(admission.instance) + "/" + std::to_string(admission.total) +
                     (admission.waits ? ", takes over when it uses its socket" : "")});
  }
  if (handed_over)
    tell_({.what = "handed over",
           .group = group.id,
           .instance = admission.instance,
           .pid = claim.pid,
           .command = claim.command,
           .detail = "to another process"});
  if (admission.group != 0 && group.generation != generation_before)
    tell_({.what = "flipped",
           .group = group.id,
           .detail = "generation " + std::to_string(group.generation) + " of " +
                     std::to_string(group.total) + " is active"});
}

std::string Groups::report_uncounted(const Group& group, const Claim& claim) {
  if (group.key.protocol != Protocol::Tcp || counters_.contains(claim.cookie)) return "";
  std::string text = "its open connections are not counted: all counters are in use";
  if (group.mode == Mode::Least) text += "; least mode picks by hash while it is a member";
  tell_({.what = "uncounted",
         .group = group.id,
         .instance = group.members.at(claim.cookie).instance,
         .pid = claim.pid,
         .command = claim.command,
         .detail = text});
  return group.id + ": " + text;
}

// A server that lets the kernel watch its system calls once it has bound would be killed for those
// with which the shim tells of the first use. What the one before it did, it will do too.
bool Groups::confines_itself_later(const Claim& claim, const Admission& admission) const {
  if (claim.pid <= 0) return true;  // nobody can tell
  const uint32_t now = kernel::seccomp_filters_of(claim.pid);
  const auto& members = registry_.find(admission.group)->members;
  return std::ranges::any_of(members, [&](const auto& entry) {
    const Member& member = entry.second;
    return member.state == MemberState::Active && member.instance == admission.instance &&
           member.pid > 0 && kernel::seccomp_filters_of(member.pid) > now;
  });
}

void Groups::await_use(GroupSerial group, Cookie cookie) {
  waits_.push_back({group, cookie, std::chrono::steady_clock::now() + around_.takeover_wait});
  if (waits_.size() == 1) wait_end_ = loop_.after(around_.takeover_wait, [this] { end_waits(); });
}

// Reading that the shim does not see (io_uring, system calls of the program's own) has begun by
// now.
void Groups::end_waits() {
  const auto now = std::chrono::steady_clock::now();
  for (; !waits_.empty() && waits_.front().end <= now; waits_.pop_front()) {
    const auto [serial, cookie, end] = waits_.front();
    if (!registry_.begin_use(serial, cookie)) continue;
    const Group& group = *registry_.find(serial);
    const Member& member = group.members.at(cookie);
    tell_({.what = "took over",
           .group = group.id,
           .instance = member.instance,
           .pid = member.pid,
           .command = member.command,
           .detail = "its first use was not seen in time"});
    changed(serial);
  }
  if (!waits_.empty()) wait_end_ = loop_.after(waits_.front().end - now, [this] { end_waits(); });
}

// A group grows once. Before it does, or is full, those are looked for that have closed their
// socket since the last sweep: their seats are vacant then.
Result<Admission> Groups::admit(const Claim& claim) {
  auto admission = registry_.admit(claim);
  if (admission && admission->waits &&
      (around_.takeover_wait.count() == 0 || confines_itself_later(claim, *admission))) {
    Claim at_once = claim;
    at_once.tells_use = false;
    return admit(at_once);
  }
  if (!admission || admission->group == 0 || admission->slot == kNoSlot) return admission;
  if (admission->slot < runtimes_.at(admission->group).steering->capacity()) return admission;
  check_seats(*registry_.find(admission->group));
  return registry_.admit(claim);
}

Result<Groups::Joined> Groups::join(const Claim& claim, int socket) {
  // fchown and SO_BINDTODEVICE give a bound socket another key: it is no member of the old group.
  if (const Group* other = registry_.with_member(claim.cookie); other && other->key != claim.key)
    (void)leave(claim.cookie, socket);
  auto admission = admit(claim);
  if (!admission) return tl::unexpected(admission.error());
  const bool is_new = admission->group == 0;
  const GroupSerial serial = is_new ? random_serial() : admission->group;
  if (is_new) {
    if (auto made = make_runtime(claim, *admission, serial); !made)
      return tl::unexpected(not_a_refusal(made.error()));
  }
  auto seated = seat(claim, *admission, serial, socket);
  if (!seated) {
    if (is_new) {
      (void)runtimes_.at(serial).steering->unpin();
      runtimes_.erase(serial);
      unmanage_port(claim.key);
    }
    if (!admission->known) {
      free_counter(claim.cookie);
      (void)around_.watch->untag(socket);
    }
    return fail(not_a_refusal(seated.error()), group_id(claim.key, around_.own_netns));
  }
  parked_.erase(claim.cookie);
  const uint64_t generation = is_new ? 1 : registry_.find(serial)->generation;
  const bool later = !is_new && may_be_put_off(*registry_.find(serial), *admission);
  const bool handed_over = admission->known && is_held_by_other(claim);
  Group& group = registry_.commit(claim, *admission, serial);
  write_record(group, runtimes_.at(serial));
  watch_process(claim.pid);
  if (admission->waits && !admission->known) await_use(serial, claim.cookie);
  report_join(group, claim, *admission, generation, handed_over);
  report_foreign(group, runtimes_.at(serial), *seated);
  later ? put_off(serial) : changed(serial);
  std::string warning = admission->warning;
  if (!seated->empty()) warning += (warning.empty() ? "" : "; ") + group.id + ": " + *seated;
  for (const std::string& more : {report_uncounted(group, claim), keep(group, claim, socket)}) {
    if (!more.empty()) warning += (warning.empty() ? "" : "; ") + more;
  }
  return Joined{.group = serial,
                .total = admission->total,
                .instance = admission->instance,
                .member = admission->ordinal,
                .warning = std::move(warning),
                .known = admission->known,
                .took_over = !admission->displaced.empty(),
                .waits = admission->waits};
}

Result<Groups::Joined> Groups::query(Cookie cookie) const {
  const Group* group = registry_.with_member(cookie);
  if (!group) return fail(ENOPROTOOPT, "the socket is in no group");
  const Member& member = group->members.at(cookie);
  const uint32_t total = member.generation == group->pending_generation && group->pending_total != 0
                             ? group->pending_total
                             : group->total;
  return Joined{.group = group->serial,
                .total = total,
                .instance = member.instance,
                .member = member.ordinal,
                .warning = "",
                .known = true};
}

Result<void> Groups::vacate(const Group& group, const Member& member) {
  if (member.slot == kNoSlot) return {};
  return runtimes_.at(group.serial).steering->remove(member.slot);
}

Result<void> Groups::leave(Cookie cookie, int socket) {
  return leave(cookie, socket, "it left the subset");
}

Result<void> Groups::leave(Cookie cookie, int socket, const char* why) {
  const Group* group = registry_.with_member(cookie);
  if (!group) return fail(ENOPROTOOPT, "the socket is in no group");
  if (auto vacated = vacate(*group, group->members.at(cookie)); !vacated) return vacated;
  (void)around_.watch->untag(socket);
  depart(group->serial, cookie, why);
  return {};
}

// Somebody else has it where there is one more descriptor than the process' and that of its
// message: a child, an activator, another thread that is in accept; or, with vacancy `hold`, the
// daemon.
Result<void> Groups::leave_before_close(Cookie cookie, int socket) {
  constexpr uint32_t kOfThisRequest = 2;
  auto found = around_.watch->look_at(socket);
  if (!found) return tl::unexpected(found.error());
  if (!is_abandoned(found->references, kOfThisRequest))
    return fail(EBUSY, "others have the socket too, or keep it: it stays a member");
  return leave(cookie, socket, "its process closes it");
}

// The tag remains, for the next daemon. Each worker that takes a sibling says so again.
Result<void> Groups::park(Cookie cookie, int socket) {
  if (parked_.count(cookie)) return {};
  const Group* group = registry_.with_member(cookie);
  if (!group) return fail(ENOPROTOOPT, "the socket is in no group");
  const Member& member = group->members.at(cookie);
  subset_tag tag{};
  tag.group = group->serial;
  tag.lineage = member.lineage;
  tag.instance = member.instance;
  tag.ordinal = SUBSET_PARKED;
  tag.slot = SUBSET_NO_SLOT;
  tag.pid = member.pid;
  if (auto vacated = vacate(*group, member); !vacated) return vacated;
  (void)around_.watch->tag(socket, tag);
  parked_.insert(cookie);
  depart(group->serial, cookie, "its workers have sockets of their own");
  return {};
}

Result<void> Groups::change(const protocol::Change& change, uint32_t peer_uid) {
  using protocol::Verb;
  const std::string id(change.group, strnlen(change.group, sizeof change.group));
  const Group* group = registry_.find_id(id);
  if (!group) return fail(ENOENT, "there is no group " + id + "; subset status lists them");
  if (!may_change(*group, peer_uid))
    return fail(EPERM, id + " belongs to user " + std::to_string(group->key.uid) +
                           ": only root and its owner change it");
  std::optional<uint32_t> instance;
  if (change.instance != protocol::Change::kAll) instance = change.instance;
  const GroupSerial serial = group->serial;
  Result<void> done;
  const char* what = "";
  switch (change.verb) {
    case Verb::Drain:
      what = "drained";
      done = registry_.set_drained(serial, instance, true);
      break;
    case Verb::Resume:
      what = "resumed";
      done = registry_.set_drained(serial, instance, false);
      break;
    case Verb::Weight:
      what = "weighted";
      done = registry_.set_weight(serial, instance, change.value);
      break;
    case Verb::SetMode:
      what = "changed mode";
      done = registry_.set_mode(serial, static_cast<Mode>(change.value));
      refresh_topology();
      refresh_processes(*group);
      break;
    case Verb::Activate:
      what = "flipped";
      done = registry_.activate(serial);
      break;
    case Verb::Abandon:
      what = "abandoned";
      done = registry_.abandon(serial);
      break;
    case Verb::Release:
      return release_held(*group, instance, "by user " + std::to_string(peer_uid));
  }
  if (!done) return done;
  tell_({.what = what,
         .group = id,
         .instance = instance,
         .detail = "by user " + std::to_string(peer_uid)});
  changed(serial);
  return {};
}

}  // namespace subset
