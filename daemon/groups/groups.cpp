// SPDX-License-Identifier: MIT
// The life of groups between requests: planning, departures, ends.
#include "daemon/groups/groups.h"

#include <poll.h>

#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/kernel/process.h"
#include "daemon/kernel/topology.h"
#include "daemon/model/pace.h"
#include "daemon/model/turns.h"

namespace subset {
namespace {

constexpr auto kSettleTime = std::chrono::milliseconds(2);
constexpr auto kSweepPeriod = std::chrono::seconds(1);
constexpr auto kLookAgain = std::chrono::milliseconds(50);

bool depends_on_cpus(const Group& group) {
  return group.mode == Mode::Cpu || group.mode == Mode::Numa;
}

kernel::Record record_of(const Group& group) {
  kernel::Record record;
  auto& head = record.head;
  head.serial = group.serial;
  head.netns_cookie = group.key.netns_cookie;
  head.netns_inode = group.key.netns_inode;
  head.device = group.key.device;
  head.uid = group.key.uid;
  head.port = group.key.port;
  head.family = static_cast<uint8_t>(group.key.family);
  head.protocol = static_cast<uint8_t>(group.key.protocol);
  head.v6only = group.key.v6only;
  std::copy(group.key.address.begin(), group.key.address.end(), head.address);
  head.generation = group.generation;
  head.pending_generation = group.pending_generation;
  head.total = group.total;
  head.pending_total = group.pending_total;
  head.mode = static_cast<uint8_t>(group.mode);
  head.vacancy = static_cast<uint8_t>(group.vacancy);
  head.elastic = group.elastic;
  for (const Seat& seat : group.seats) {
    record.seats.push_back({.instance = static_cast<uint16_t>(seat.instance),
                            .ordinal = static_cast<uint16_t>(seat.ordinal),
                            .weight = static_cast<uint16_t>(group.weight_of(seat.instance)),
                            .drained = group.drained(seat.instance)});
  }
  for (const auto& [cookie, member] : group.members) {
    if (member.slot < record.seats.size()) record.seats[member.slot].displaced = member.displaced;
  }
  return record;
}

}  // namespace

Groups::Groups(Surroundings surroundings, Loop& loop, std::function<void(const Happening&)> tell)
    : around_(std::move(surroundings)),
      loop_(loop),
      tell_(std::move(tell)),
      registry_(around_.own_netns, around_.quotas),
      counters_in_use_(SUBSET_COUNTERS) {
  notices_ = loop_.watch(around_.watch->notice_poll_fd(), POLLIN, [this](uint32_t) {
    std::set<GroupSerial> noticed;
    around_.watch->drain_notices(
        [&](const subset_notice& notice) { noticed.insert(notice.group); });
    for (GroupSerial serial : noticed) {
      if (const Group* group = registry_.find(serial)) check_seats(*group);
      changed(serial);
    }
  });
  sweeper_ = loop_.every(kSweepPeriod, [this] { sweep(); });
  search_ = loop_.after(kSweepPeriod, [this] { look_for_strangers(); });
}

Groups::~Groups() = default;

void Groups::changed(GroupSerial group) {
  changed_.try_emplace(group, ++changes_);
  if (std::exchange(settle_asked_, true)) return;
  loop_.at_end_of_round([this] { settle(); });
}

// Planned with all who come until the pause after the last plan ends, or sooner with what cannot
// wait.
void Groups::put_off(GroupSerial group) {
  Runtime& runtime = runtimes_.at(group);
  const auto pause = runtime.pause_ends - std::chrono::steady_clock::now();
  if (pause <= pause.zero()) return changed(group);
  if (!runtime.put_off) runtime.put_off = loop_.after(pause, [this, group] { changed(group); });
}

void Groups::settle_put_off() {
  for (const auto& [serial, runtime] : runtimes_) {
    if (runtime.put_off) settle_one(serial);
  }
}

std::vector<GroupSerial> Groups::changed_in_turns() const {
  std::vector<WaitingGroup> waiting;
  waiting.reserve(changed_.size());
  for (const auto& [serial, since] : changed_) {
    const Group* group = registry_.find(serial);
    waiting.push_back({.group = serial, .uid = group ? group->key.uid : 0, .since = since});
  }
  return in_turns(std::move(waiting), settled_last_);
}

// Another shape is another program, a millisecond each: beyond the time of a round the rest waits
// for the next one, in which others have been heard.
void Groups::settle() {
  const auto end = std::chrono::steady_clock::now() + kSettleTime;
  for (const GroupSerial serial : changed_in_turns()) {
    changed_.erase(serial);
    settle_one(serial);
    if (std::chrono::steady_clock::now() >= end) break;
  }
  settle_asked_ = !changed_.empty();
  if (settle_asked_) rest_ = loop_.after(std::chrono::nanoseconds(0), [this] { settle(); });
}

void Groups::settle_one(GroupSerial serial) {
  const Group* group = registry_.find(serial);
  auto runtime = runtimes_.find(serial);
  if (!group || runtime == runtimes_.end()) return;
  settled_last_ = group->key.uid;
  runtime->second.put_off.reset();
  const auto begun = std::chrono::steady_clock::now();
  auto published = publish(*group, runtime->second);
  if (!published) spdlog::error("{}: {}", group->id, published.error().message());
  write_record(*group, runtime->second);
  const auto ended = std::chrono::steady_clock::now();
  runtime->second.pause_ends = ended + pause_after(ended - begun);
  let_go(*group, runtime->second);
  // Who told of a slot that stays in the table waits for the sweep: there is something that
  // planning does not mend, and each packet would ask for it again.
  if (published && *published) runtime->second.steering->rearm_notice();
}

GroupSerial Groups::serial_of(Cookie cookie) const {
  const Group* group = registry_.with_member(cookie);
  return group ? group->serial : 0;
}

GroupSerial Groups::serial_of(const std::string& id) const {
  const Group* group = registry_.find_id(id);
  return group ? group->serial : 0;
}

// A member whose connections nobody counts would be the idlest for ever: least mode, which has no
// table of its own, leaves it to the hash's.
TablePlan Groups::plan_for(const Group& group, const Runtime& runtime) const {
  TablePlan plan = plan_table(group, around_.topology, runtime.plan);
  const auto counted = [&](const Candidate& candidate) {
    return runtime.steering->counter(candidate.slot) != 0;
  };
  if (group.mode == Mode::Least && !std::ranges::all_of(plan.table.candidates, counted))
    plan.shape.mode = Mode::Hash;
  return plan;
}

Result<bool> Groups::publish(const Group& group, Runtime& runtime) {
  TablePlan plan = plan_for(group, runtime);
  if (auto done = runtime.steering->publish(plan.shape, plan.table); !done)
    return tl::unexpected(done.error());
  const bool moved = plan.state.rows != runtime.plan.rows;
  runtime.plan = std::move(plan.state);
  if (plan.table.candidates == runtime.candidates) return moved;
  runtime.candidates = std::move(plan.table.candidates);
  auto counts = runtime.steering->counts();
  if (!counts) return fail(counts.error(), "publish");
  runtime.selected_at_change.clear();
  for (const auto& slot : counts->slots)
    runtime.selected_at_change.push_back(slot.home + slot.alternative);
  return true;
}

void Groups::write_record(const Group& group, Runtime& runtime) {
  if (auto written = runtime.steering->write_record(record_of(group)); !written)
    spdlog::error("{}: {}", group.id, written.error().message());
}

// --- departures ---------------------------------------------------------------------------------

void Groups::depart(GroupSerial serial, Cookie cookie, const char* why) {
  auto departure = registry_.depart(serial, cookie, std::chrono::system_clock::now());
  if (!departure) return;
  free_counter(cookie);
  const Group* group = registry_.find(serial);
  const Member& member = departure->member;
  tell_({.what = "left",
         .group = group ? group->id : "",
         .instance = member.instance,
         .pid = member.pid,
         .command = member.command,
         .detail = why});
  changed(serial);
}

// A member whose slot holds it is there; one without a slot is only known by its tag.
bool Groups::sits(const Runtime& runtime, const Member& member) const {
  return member.slot == kNoSlot || runtime.steering->occupant(member.slot) == member.cookie;
}

void Groups::check_seats(const Group& group) {
  auto runtime = runtimes_.find(group.serial);
  if (runtime == runtimes_.end()) return;
  std::vector<Cookie> gone;
  for (const auto& [cookie, member] : group.members) {
    if (!sits(runtime->second, member)) gone.push_back(cookie);
  }
  for (Cookie cookie : gone) depart(group.serial, cookie, "its socket left the group");
}

void Groups::watch_process(int32_t pid) {
  if (pid <= 0 || processes_.count(pid)) return;
  auto pidfd = kernel::open_pidfd(pid);
  if (!pidfd) return;  // gone already: the next sweep sees to it
  const int fd = pidfd->get();
  auto handle = loop_.watch(fd, POLLIN, [this, pid](uint32_t) { process_ended(pid); });
  processes_.emplace(pid, Watched{std::move(*pidfd), std::move(handle)});
}

// When the process ended its descriptors are closed; a socket that lives on is somebody else's too
// (a child, a parent that passed it on).
void Groups::process_ended(int32_t pid) {
  processes_.erase(pid);
  // The kernel may still be at it (io_uring).
  if (keeps_of(pid)) look_again_ = loop_.after(kLookAgain, [this] { sweep(); });
  bool unsure = false;
  std::vector<std::pair<GroupSerial, Cookie>> gone;
  for (const auto& [serial, group] : registry_.groups()) {
    const auto runtime = runtimes_.find(serial);
    for (const auto& [cookie, member] : group.members) {
      if (member.pid != pid || runtime == runtimes_.end()) continue;
      if (!sits(runtime->second, member))
        gone.emplace_back(serial, cookie);
      else
        unsure = true;
    }
  }
  for (const auto& [serial, cookie] : gone) depart(serial, cookie, "its process ended");
  if (unsure) sweep();
}

void Groups::refresh_process(const Group& group, const Member& member) {
  if (member.pid <= 0) return;
  if (!processes_.count(member.pid)) {
    registry_.set_process(group.serial, member.cookie, 0, member.cpus);
    return;
  }
  if (!depends_on_cpus(group)) return;
  CpuSet cpus = kernel::affinity_of(member.pid);
  if (cpus.empty() || cpus == member.cpus) return;
  registry_.set_process(group.serial, member.cookie, member.pid, cpus);
  changed(group.serial);
}

void Groups::refresh_processes(const Group& group) {
  for (const auto& [cookie, member] : group.members) refresh_process(group, member);
}

// CPUs go offline and come back: then others are the i-th, and the kernel has moved who was pinned.
void Groups::refresh_topology() {
  const auto& groups = registry_.groups();
  if (std::none_of(groups.begin(), groups.end(),
                   [](const auto& entry) { return depends_on_cpus(entry.second); }))
    return;
  Topology now = kernel::read_topology();
  if (now == around_.topology) return;
  around_.topology = std::move(now);
  for (const auto& [serial, group] : groups) {
    if (depends_on_cpus(group)) changed(serial);
  }
}

bool Groups::add_living(Samples& alive) const {
  auto samples = around_.watch->sample();
  if (!samples) {
    spdlog::error("{}", samples.error().message());
    return false;
  }
  for (const subset_sample& sample : *samples) alive.insert_or_assign(sample.cookie, sample);
  return true;
}

bool Groups::all_among(const Samples& alive) const {
  for (const auto& [serial, group] : registry_.groups())
    for (const auto& [cookie, member] : group.members)
      if (!alive.count(cookie)) return false;
  return true;
}

// A look that goes over descriptors misses one that changes its number meanwhile (dup2 and close),
// so nobody is gone who is there at a second look.
void Groups::sweep() {
  refresh_topology();
  Samples alive;
  if (!add_living(alive)) return;
  if (!all_among(alive) && !add_living(alive)) return;
  hold_abandoned(alive);
  std::erase_if(parked_, [&](Cookie cookie) { return !alive.count(cookie); });
  std::vector<std::pair<GroupSerial, Cookie>> gone;
  for (const auto& [serial, group] : registry_.groups()) {
    for (const auto& [cookie, member] : group.members) {
      if (!alive.count(cookie))
        gone.emplace_back(serial, cookie);
      else
        refresh_process(group, member);
    }
  }
  for (const auto& [serial, cookie] : gone) depart(serial, cookie, "its socket was closed");
  for (auto& [serial, runtime] : runtimes_) {
    if (const Group* group = registry_.find(serial)) {
      check_seats(*group);
      oversee_group(*group, runtime, alive);
    }
    runtime.steering->rearm_notice();
  }
  tend_kept();
  forget_empty(false);
  keep_pins();
}

// --- ends ---------------------------------------------------------------------------------------

void Groups::forget_empty(bool at_once) {
  const Time now = std::chrono::system_clock::now();
  std::vector<GroupSerial> over;
  for (const auto& [serial, group] : registry_.groups()) {
    if (!group.members.empty()) continue;
    if (at_once || !group.empty_since || now - *group.empty_since > around_.linger)
      over.push_back(serial);
  }
  for (GroupSerial serial : over) {
    if (auto runtime = runtimes_.find(serial); runtime != runtimes_.end()) {
      if (auto unpinned = runtime->second.steering->unpin(); !unpinned)
        spdlog::error("{}", unpinned.error().message());
      runtimes_.erase(runtime);
    }
    spdlog::info("{}: ended", registry_.find(serial)->id);
    unmanage_port(registry_.find(serial)->key);
    registry_.forget(serial);
  }
}

bool Groups::remove_empty() {
  let_all_go();
  sweep();
  forget_empty(true);
  if (!registry_.groups().empty()) return false;
  // Last what watches the machine: its program runs at every change of a TCP connection.
  if (auto removed = kernel::Pins::remove_dir(around_.pins.root()); !removed)
    spdlog::error("{}", removed.error().message());
  return true;
}

}  // namespace subset
