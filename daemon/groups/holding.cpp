// SPDX-License-Identifier: MIT
// Vacancy `hold`: sockets that outlive their processes. The daemon has a duplicate of each member's
// socket from its registration on. When that is the last one, the member is held; it goes to the
// next process that is about to bind that instance, or is closed when its time is over.
#include <fcntl.h>

#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"
#include "daemon/kernel/held_socket.h"

namespace subset {
namespace {

using Clock = std::chrono::steady_clock;

// Of a listener that is held: the kernel's own largest, unless somebody has changed that.
constexpr int kHeldBacklog = 4096;

// A server that has come back binds all its sockets within this time.
constexpr auto kForOthers = std::chrono::seconds(5);

Fd duplicate(int socket) {
  return Fd(fcntl(socket, F_DUPFD_CLOEXEC, 0));
}

std::string seconds_text(std::chrono::seconds time) {
  return std::to_string(time.count()) + " s";
}

// May this process have it? Its owner and root may; and who had it before, since servers drop their
// user between socket(2), which makes the owner, and bind(2).
bool may_reclaim(const Claim& claim, uint32_t former_user) {
  return claim.process_uid == 0 || claim.process_uid == claim.key.uid ||
         claim.process_uid == former_user;
}

}  // namespace

Kept Groups::count_kept(uint32_t uid) const {
  Kept kept;
  for (const auto& [serial, runtime] : runtimes_) {
    const Group* group = registry_.find(serial);
    if (!group || group->key.uid == 0) continue;
    kept.of_all += runtime.kept.size();
    if (group->key.uid == uid) kept.of_user += runtime.kept.size();
  }
  return kept;
}

// Gives back what the process should know.
std::string Groups::keep(const Group& group, const Claim& claim, int socket) {
  const Member& member = group.members.at(claim.cookie);
  auto& kept = runtimes_.at(group.serial).kept;
  if (group.vacancy != Vacancy::Hold || !group.current(member)) return "";
  if (auto known = kept.find(claim.cookie); known != kept.end()) {
    known->second.user = claim.process_uid;
    known->second.held_until.reset();
    return "";
  }
  if (auto within = check_kept(group.key.uid, count_kept(group.key.uid), around_.quotas); !within)
    return within.error().message();
  Fd copy = duplicate(socket);
  if (!copy) return "the daemon has no descriptor left: this socket will not be held";
  kept.emplace(claim.cookie, KeptSocket{.socket = std::move(copy),
                                        .user = claim.process_uid,
                                        .held_until = {},
                                        .abandoned_before = false,
                                        .buffer = {}});
  return "";
}

// --- its process ends ---------------------------------------------------------------------------

bool Groups::keeps_of(int32_t pid) const {
  for (const auto& [serial, runtime] : runtimes_) {
    const Group* group = registry_.find(serial);
    if (!group || runtime.kept.empty()) continue;
    const bool found = std::any_of(group->members.begin(), group->members.end(),
                                   [pid, &kept = runtime.kept](const auto& entry) {
                                     return entry.second.pid == pid && kept.count(entry.first);
                                   });
    if (found) return true;
  }
  return false;
}

void Groups::hold_abandoned(const Samples& samples) {
  for (auto& [serial, runtime] : runtimes_) {
    const Group* group = registry_.find(serial);
    std::set<Cookie> abandoned;
    for (auto& [cookie, kept] : runtime.kept) {
      auto sample = samples.find(cookie);
      if (kept.held_until || sample == samples.end()) continue;
      if (is_abandoned(sample->second.references, 1))
        abandoned.insert(cookie);
      else
        kept.abandoned_before = false;
    }
    for (Cookie cookie : abandoned) {
      if (group) take_in(*group, cookie, abandoned);
    }
  }
}

// An instance that goes on with other sockets has no need of this one: a worker ended, a server
// closed a listener. What waits in it moves to the others. But a process that is being killed
// closes one socket after the other: while it may be doing so, the next look decides.
void Groups::take_in(const Group& group, Cookie cookie, const std::set<Cookie>& abandoned) {
  auto member = group.members.find(cookie);
  if (member == group.members.end()) return;
  if (!lives_without(group, member->second, abandoned)) return hold(group.serial, cookie);
  KeptSocket& kept = runtimes_.at(group.serial).kept.at(cookie);
  const bool may_be_dying = processes_.count(member->second.pid) != 0;
  if (may_be_dying && !std::exchange(kept.abandoned_before, true)) return;
  depart(group.serial, cookie, "its process closed it, and goes on without it");
}

void Groups::hold(GroupSerial serial, Cookie cookie) {
  const Group& group = *registry_.find(serial);
  auto found = group.members.find(cookie);
  if (found == group.members.end()) return;
  const Member before = found->second;
  if (!registry_.hold(serial, cookie))  // it drains, or its generation is pending
    return depart(serial, cookie, "its process ended");
  KeptSocket& kept = runtimes_.at(serial).kept.at(cookie);
  kept.held_until = Clock::now() + around_.hold.time;
  make_room_while_held(group, kept);
  tell_({.what = "held",
         .group = group.id,
         .instance = before.instance,
         .pid = before.pid,
         .command = before.command,
         .detail = "nobody has the socket; it is kept for " + seconds_text(around_.hold.time)});
}

void Groups::make_room_while_held(const Group& group, KeptSocket& kept) {
  const int socket = kept.socket.get();
  if (group.key.protocol == Protocol::Tcp) {
    if (auto set = kernel::set_backlog(socket, kHeldBacklog); !set)
      spdlog::warn("{}: {}", group.id, set.error().message());
    return;
  }
  auto present = kernel::receive_buffer_of(socket);
  if (!present || present->bytes >= 2 * around_.hold.receive_buffer_bytes) return;
  // It may be raised still, from the last time.
  const ReceiveBuffer wanted = kept.buffer ? kept.buffer->wanted : *present;
  if (auto set = kernel::set_receive_buffer(socket, around_.hold.receive_buffer_bytes); !set)
    return spdlog::warn("{}: {}", group.id, set.error().message());
  if (auto raised = kernel::receive_buffer_of(socket))
    kept.buffer = KeptSocket::Buffer{.raised = *raised, .wanted = wanted};
}

// --- somebody comes for it ----------------------------------------------------------------------

// Its process may have ended, or closed it, a moment ago. However many ask, it is looked at once a
// round.
void Groups::look_for_abandoned(const Group& group) {
  const auto& kept = runtimes_.at(group.serial).kept;
  const bool all_held = std::all_of(kept.begin(), kept.end(), [](const auto& entry) {
    return entry.second.held_until.has_value();
  });
  if (all_held || std::exchange(looked_for_abandoned_, true)) return;
  loop_.at_end_of_round([this] { looked_for_abandoned_ = false; });
  Samples samples;
  if (add_living(samples)) hold_abandoned(samples);
}

Result<Groups::Reclaimed> Groups::reclaim(Claim claim, int unbound) {
  const Group* group = registry_.find(claim.key);
  if (!group || group->vacancy != Vacancy::Hold || !runtimes_.count(group->serial))
    return fail(ENOENT, "no socket is held there");
  const GroupSerial serial = group->serial;
  look_for_abandoned(*group);
  auto cookie = registry_.find_held(claim);
  if (!cookie) return fail(ENOENT, "no socket is held for this instance");
  auto& kept = runtimes_.at(serial).kept;
  auto found = kept.find(*cookie);
  if (found == kept.end()) return fail(ENOENT, "the held socket is gone");
  if (!may_reclaim(claim, found->second.user))
    return fail(EPERM, "the held socket belongs to user " + std::to_string(claim.key.uid));
  Fd copy = duplicate(found->second.socket.get());
  if (!copy) return fail_errno("duplicate the held socket");
  claim.cookie = *cookie;
  auto joined = join(claim, copy.get());
  if (!joined) return tl::unexpected(joined.error());
  if (auto wanted = kernel::receive_buffer_of(unbound)) want_buffer(found->second, *wanted);
  hurry_others(*group, joined->instance);
  tell_({.what = "reclaimed",
         .group = group->id,
         .instance = joined->instance,
         .pid = claim.pid,
         .command = claim.command,
         .detail = "the held socket, with what is queued in it"});
  return Reclaimed{std::move(*joined), std::move(copy)};
}

// The instance lives again. If it has fewer sockets than before, the rest must not keep a part of
// its traffic waiting.
void Groups::hurry_others(const Group& group, uint32_t instance) {
  const auto soon = Clock::now() + kForOthers;
  for (auto& [cookie, kept] : runtimes_.at(group.serial).kept) {
    auto member = group.members.find(cookie);
    if (kept.held_until && member != group.members.end() && member->second.instance == instance)
      kept.held_until = std::min(*kept.held_until, soon);
  }
}

void Groups::want_buffer(KeptSocket& kept, const ReceiveBuffer& wanted) {
  auto present = kernel::receive_buffer_of(kept.socket.get());
  if (!present || *present == wanted) return kept.buffer.reset();
  kept.buffer = KeptSocket::Buffer{.raised = *present, .wanted = wanted};
  settle_buffer(kept);
}

void Groups::settle_buffer(KeptSocket& kept) {
  const int socket = kept.socket.get();
  auto present = kernel::receive_buffer_of(socket);
  if (!present || !kept.buffer) return;
  const auto step =
      next_step(*present, kept.buffer->raised, kept.buffer->wanted, kernel::queued_bytes(socket));
  if (step == BufferStep::Wait) return;
  if (step == BufferStep::Shrink) (void)kernel::restore_receive_buffer(socket, kept.buffer->wanted);
  kept.buffer.reset();
}

// --- nobody comes, or it is not to be kept ------------------------------------------------------

void Groups::tend_kept() {
  const auto now = Clock::now();
  std::vector<std::pair<GroupSerial, Cookie>> over;
  for (auto& [serial, runtime] : runtimes_) {
    for (auto& [cookie, kept] : runtime.kept) {
      if (!kept.held_until)
        settle_buffer(kept);
      else if (now >= *kept.held_until)
        over.emplace_back(serial, cookie);
    }
  }
  const std::string why = "nobody came for it within " + seconds_text(around_.hold.time);
  for (const auto& [serial, cookie] : over) release(serial, cookie, why);
}

void Groups::release(GroupSerial serial, Cookie cookie, const std::string& why) {
  const Group& group = *registry_.find(serial);
  auto member = group.members.find(cookie);
  if (member == group.members.end()) return;
  tell_({.what = "released",
         .group = group.id,
         .instance = member->second.instance,
         .command = member->second.command,
         .detail = why});
  depart(serial, cookie, "its socket is held no longer");
}

Result<void> Groups::release_held(const Group& group, std::optional<uint32_t> instance,
                                  const std::string& why) {
  std::vector<Cookie> held;
  for (const auto& [cookie, member] : group.members) {
    if (member.state == MemberState::Held && (!instance || member.instance == *instance))
      held.push_back(cookie);
  }
  if (held.empty())
    return fail(ENOENT, "no socket is held of " +
                            (instance ? "instance " + std::to_string(*instance) : "any instance") +
                            " of " + group.id);
  for (Cookie cookie : held) release(group.serial, cookie, why);
  return {};
}

// After the table is in force, in which those that went have no bucket: connections that wait in a
// listener move to other members when it is closed. A member that drains reads what it has, and is
// closed by its process.
void Groups::let_go(const Group& group, Runtime& runtime) {
  std::vector<Cookie> ended;
  std::erase_if(runtime.kept, [&](const auto& entry) {
    const auto& [cookie, kept] = entry;
    auto member = group.members.find(cookie);
    const bool is_member = member != group.members.end();
    if (is_member && group.current(member->second)) return false;
    if (is_member && kept.held_until) ended.push_back(cookie);
    return true;
  });
  for (Cookie cookie : ended) depart(group.serial, cookie, "another socket took its place");
}

void Groups::let_all_go() {
  for (auto& [serial, runtime] : runtimes_) {
    if (const Group* group = registry_.find(serial))
      (void)release_held(*group, std::nullopt, "the daemon ends");
    runtime.kept.clear();
  }
}

}  // namespace subset
