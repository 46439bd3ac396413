// SPDX-License-Identifier: MIT
#include "daemon/loop/loop.h"

#include <liburing.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace subset {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kSubmissions = 256;  // more than that go in several calls
constexpr unsigned kCompletions = 4096;
constexpr size_t kMostToClose = 64;  // descriptors that are noted; each is still open
constexpr uint64_t kNobody = 0;      // the id of operations whose outcome nobody waits for

struct Watch {
  int fd = -1;
  uint32_t events = 0;
  Loop::Ready ready;
  bool armed = false;  // the kernel has it
};

// Timers that are due at the same time fire in the order in which they were made.
using Due = std::pair<Clock::time_point, uint64_t>;

struct Timer {
  Clock::time_point due;
  Loop::Duration period{};  // zero: once
  std::function<void()> call;
};

struct Completion {
  uint64_t id = kNobody;
  int result = 0;
};

__kernel_timespec to_timespec(Loop::Duration duration) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

std::string advice(int code) {
  if (code == EPERM) return "set up io_uring (the sysctl kernel.io_uring_disabled forbids it)";
  if (code == ENOSYS) return "set up io_uring (this kernel has none, or seccomp hides it)";
  return "set up io_uring";
}

}  // namespace

// Watches are armed once a round and once for each time that they were ready: a oneshot poll looks
// at the state of the file when it is armed, which makes it level-triggered; a multishot one only
// tells of changes. What is to be armed, cancelled or closed is noted and goes to the kernel in one
// call before the loop sleeps, so a watch that is made and dropped in one round costs nothing.
//
// Ids never repeat, and each names one poll at a time. A completion whose id nobody has any more is
// of a watch that went while it was under way, and is dropped: it does not matter which file has
// its fd number by then.
struct Loop::Handle::Core {
  // The ring is set up, or `code` says why not.
  static int set_up(io_uring& ring);

  Core() = default;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core() {
    if (ring_made) io_uring_queue_exit(&ring);
  }

  void cancel(uint64_t id);
  void cancel_watch(uint64_t id);
  void cancel_timer(uint64_t id);
  void set_timer(uint64_t id, Clock::time_point due);

  // What is noted for the kernel goes there.
  Result<void> submit();
  void submit_unless_running();
  io_uring_sqe* next_entry();
  bool arm_noted();
  bool cancel_noted();
  bool close_noted();

  Result<void> round();
  Result<void> wait();
  std::optional<Duration> time_to_sleep() const;
  void collect();
  Result<void> dispatch(Completion completion);
  void fire_timers();
  void fire(uint64_t id);
  void end_round();

  io_uring ring{};
  bool ring_made = false;
  bool running = false;
  bool stopped = false;
  int submit_error = 0;
  uint64_t last_id = kNobody;
  std::unordered_map<uint64_t, std::shared_ptr<Watch>> watches;
  std::unordered_map<uint64_t, std::shared_ptr<Timer>> timers;
  std::map<Due, uint64_t> schedule;
  std::vector<uint64_t> to_arm;
  std::vector<uint64_t> to_cancel;
  std::vector<Fd> to_close;
  std::vector<Completion> completions;
  std::vector<std::function<void()>> at_end;
};

int Loop::Handle::Core::set_up(io_uring& ring) {
  io_uring_params params{};
  params.cq_entries = kCompletions;
  // Without COOP_TASKRUN each completion interrupts whatever handler is at work; Linux 5.19.
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN;
  int code = -io_uring_queue_init_params(kSubmissions, &ring, &params);
  if (code == EINVAL) {
    params = {};
    params.cq_entries = kCompletions;
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    code = -io_uring_queue_init_params(kSubmissions, &ring, &params);
  }
  if (code != 0) return code;
  constexpr uint32_t kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
  if ((params.features & kNeeded) == kNeeded) return 0;
  io_uring_queue_exit(&ring);
  return ENOSYS;
}

// --- cancelling

void Loop::Handle::Core::cancel(uint64_t id) {
  cancel_watch(id);
  cancel_timer(id);
}

void Loop::Handle::Core::cancel_watch(uint64_t id) {
  auto found = watches.find(id);
  if (found == watches.end()) return;
  // Destroyed last: what it captured may hold Handles of its own and come back here.
  auto watch = std::move(found->second);
  watches.erase(found);
  if (!watch->armed) return;
  to_cancel.push_back(id);
  // An armed poll keeps the file alive after its last close. A run gets to it within the round.
  submit_unless_running();
}

void Loop::Handle::Core::cancel_timer(uint64_t id) {
  auto found = timers.find(id);
  if (found == timers.end()) return;
  auto timer = std::move(found->second);
  timers.erase(found);
  schedule.erase({timer->due, id});
}

void Loop::Handle::Core::set_timer(uint64_t id, Clock::time_point due) {
  timers.at(id)->due = due;
  schedule.emplace(Due{due, id}, id);
}

// --- to the kernel

// Null when the submission queue is full and the kernel takes nothing before it has handed over
// what it has: the rest is for the next round.
io_uring_sqe* Loop::Handle::Core::next_entry() {
  if (io_uring_sqe* entry = io_uring_get_sqe(&ring)) return entry;
  int submitted = io_uring_submit(&ring);
  if (submitted < 0) submit_error = -submitted;
  return io_uring_get_sqe(&ring);
}

bool Loop::Handle::Core::cancel_noted() {
  while (!to_cancel.empty()) {
    io_uring_sqe* entry = next_entry();
    if (!entry) return false;
    io_uring_prep_poll_remove(entry, to_cancel.back());
    io_uring_sqe_set_data64(entry, kNobody);
    to_cancel.pop_back();
  }
  return true;
}

bool Loop::Handle::Core::arm_noted() {
  while (!to_arm.empty()) {
    auto found = watches.find(to_arm.back());
    if (found != watches.end()) {
      io_uring_sqe* entry = next_entry();
      if (!entry) return false;
      Watch& watch = *found->second;
      io_uring_prep_poll_add(entry, watch.fd, watch.events);
      io_uring_sqe_set_data64(entry, found->first);
      watch.armed = true;
    }
    to_arm.pop_back();
  }
  return true;
}

bool Loop::Handle::Core::close_noted() {
  while (!to_close.empty()) {
    io_uring_sqe* entry = next_entry();
    if (!entry) return false;
    io_uring_prep_close(entry, to_close.back().release());
    io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
    io_uring_sqe_set_data64(entry, kNobody);
    to_close.pop_back();
  }
  return true;
}

Result<void> Loop::Handle::Core::submit() {
  submit_error = 0;
  if (cancel_noted() && arm_noted() && close_noted() && io_uring_sq_ready(&ring) > 0) {
    int submitted = io_uring_submit(&ring);
    if (submitted < 0) submit_error = -submitted;
  }
  // EBUSY and EAGAIN: completions have to be taken first, or memory is short. Nothing is lost; the
  // entries stay in the queue and the notes where they are.
  if (submit_error == 0 || submit_error == EBUSY || submit_error == EAGAIN ||
      submit_error == EINTR) {
    return {};
  }
  return fail(submit_error, "submit to io_uring");
}

void Loop::Handle::Core::submit_unless_running() {
  // An error stays in the ring: the next run meets it and reports it.
  if (!running) static_cast<void>(submit());
}

// --- one round

std::optional<Loop::Duration> Loop::Handle::Core::time_to_sleep() const {
  // Something is left for the kernel or for the end of the round: look, do not sleep.
  bool busy = !at_end.empty() || !to_arm.empty() || !to_cancel.empty() || !to_close.empty() ||
              io_uring_sq_ready(&ring) > 0;
  if (busy) return Duration::zero();
  if (schedule.empty()) return std::nullopt;
  return std::max(Duration::zero(), Duration(schedule.begin()->first.first - Clock::now()));
}

Result<void> Loop::Handle::Core::wait() {
  io_uring_cqe* cqe = nullptr;
  auto sleep = time_to_sleep();
  __kernel_timespec timeout = to_timespec(sleep.value_or(Duration::zero()));
  int code = -io_uring_wait_cqe_timeout(&ring, &cqe, sleep ? &timeout : nullptr);
  bool usual = code == 0 || code == ETIME || code == EINTR || code == EAGAIN || code == EBUSY;
  if (!usual) return fail_system(code, "wait for io_uring");
  return {};
}

// Takes completions off the ring before any handler runs: handlers submit, and a submission may
// need the room.
void Loop::Handle::Core::collect() {
  std::array<io_uring_cqe*, kSubmissions> batch{};
  completions.clear();
  while (completions.size() < kCompletions) {
    unsigned count = io_uring_peek_batch_cqe(&ring, batch.data(), batch.size());
    if (count == 0) return;
    for (unsigned i = 0; i < count; ++i) {
      completions.push_back({io_uring_cqe_get_data64(batch.at(i)), batch.at(i)->res});
    }
    io_uring_cq_advance(&ring, count);
  }
}

Result<void> Loop::Handle::Core::dispatch(Completion completion) {
  auto found = watches.find(completion.id);
  if (found == watches.end()) return {};
  auto watch = found->second;  // the handler may drop its own Handle
  watch->armed = false;
  if (completion.result == -EBADF) {
    watch->ready(POLLNVAL);
    return {};
  }
  if (completion.result < 0) {
    return fail_system(-completion.result, "poll descriptor " + std::to_string(watch->fd));
  }
  watch->ready(static_cast<uint32_t>(completion.result));
  if (watches.contains(completion.id)) to_arm.push_back(completion.id);
  return {};
}

// A timer set by a timer of this round waits for the next, however short it is: two that keep
// setting each other must not keep everybody else from their turn.
void Loop::Handle::Core::fire_timers() {
  std::vector<uint64_t> due;
  auto end = schedule.upper_bound({Clock::now(), last_id});
  for (auto entry = schedule.begin(); entry != end; ++entry) due.push_back(entry->second);
  for (uint64_t id : due) fire(id);
}

void Loop::Handle::Core::fire(uint64_t id) {
  auto found = timers.find(id);
  if (found == timers.end()) return;  // an earlier one of this round cancelled it
  auto timer = found->second;
  schedule.erase({timer->due, id});
  if (timer->period == Duration::zero()) {
    timers.erase(found);
  } else {
    // Periods that a late loop missed are skipped, not made up for.
    set_timer(id, std::max(timer->due + timer->period, Clock::now()));
  }
  timer->call();
}

void Loop::Handle::Core::end_round() {
  auto calls = std::exchange(at_end, {});
  for (auto& call : calls) call();
}

Result<void> Loop::Handle::Core::round() {
  if (auto done = submit(); !done) return done;
  if (auto done = wait(); !done) return done;
  collect();
  for (Completion completion : completions) {
    if (auto done = dispatch(completion); !done) return done;
  }
  fire_timers();
  end_round();
  return {};
}

// --- the loop's face

Loop::Loop(std::shared_ptr<Handle::Core> core) : core_(std::move(core)) {}

Loop::~Loop() = default;

Result<std::unique_ptr<Loop>> Loop::create() {
  auto core = std::make_shared<Handle::Core>();
  int code = Handle::Core::set_up(core->ring);
  if (code != 0) return fail_system(code, advice(code));
  core->ring_made = true;
  return std::unique_ptr<Loop>(new Loop(std::move(core)));
}

Loop::Handle Loop::watch(int fd, uint32_t events, Ready ready) {
  uint64_t id = ++core_->last_id;
  core_->watches.emplace(id, std::make_shared<Watch>(Watch{fd, events, std::move(ready), false}));
  core_->to_arm.push_back(id);
  return {core_, id};
}

Loop::Handle Loop::after(Duration delay, std::function<void()> call) {
  uint64_t id = ++core_->last_id;
  core_->timers.emplace(id, std::make_shared<Timer>(Timer{{}, {}, std::move(call)}));
  core_->set_timer(id, Clock::now() + delay);
  return {core_, id};
}

Loop::Handle Loop::every(Duration period, std::function<void()> call) {
  uint64_t id = ++core_->last_id;
  period = std::max(period, Duration(1));
  core_->timers.emplace(id, std::make_shared<Timer>(Timer{{}, period, std::move(call)}));
  core_->set_timer(id, Clock::now() + period);
  return {core_, id};
}

void Loop::at_end_of_round(std::function<void()> call) {
  core_->at_end.push_back(std::move(call));
}

void Loop::close_aside(Fd fd) {
  if (!fd) return;
  core_->to_close.push_back(std::move(fd));
  if (core_->to_close.size() < kMostToClose) {
    core_->submit_unless_running();
  } else {
    static_cast<void>(core_->submit());  // an error stays in the ring, for the next round
  }
}

Result<void> Loop::run() {
  Result<void> result;
  core_->running = true;
  while (result && !core_->stopped) result = core_->round();
  core_->running = false;
  core_->stopped = false;
  // What the last round noted, cancellations above all, does not wait for a run that may not come.
  if (result) result = core_->submit();
  return result;
}

void Loop::stop() {
  core_->stopped = true;
}

Loop::Handle::Handle(Handle&& other) noexcept
    : core_(std::move(other.core_)), id_(std::exchange(other.id_, kNobody)) {}

Loop::Handle& Loop::Handle::operator=(Handle&& other) noexcept {
  if (this == &other) return *this;
  reset();
  core_ = std::move(other.core_);
  id_ = std::exchange(other.id_, kNobody);
  return *this;
}

Loop::Handle::~Handle() {
  reset();
}

void Loop::Handle::reset() {
  uint64_t id = std::exchange(id_, kNobody);
  if (id == kNobody) return;
  if (auto core = std::exchange(core_, {}).lock()) core->cancel(id);
}

}  // namespace subset
