// SPDX-License-Identifier: MIT
#include "ctl/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <set>

#include "ctl/client.h"
#include "ctl/start.h"

namespace subset::ctl {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kEndPatience{10};        // between a stop and SIGKILL
constexpr seconds kInterruptPatience{1};   // between SIGINT, which many servers ignore, and SIGTERM
constexpr milliseconds kPartialLine{200};  // a prompt is shown after this
constexpr milliseconds kRollInterval{10};  // between two looks at the status
constexpr milliseconds kStatusPatience{500};
constexpr seconds kStandingInterval{1};  // between two looks at how the run stands beside others
constexpr seconds kNoAnswerPause{10};    // where no daemon answers
// timeout(1) and some service managers send one stop twice; a person needs longer than this.
constexpr milliseconds kSameStop{500};
constexpr seconds kOutputPatience{1};  // after a stop, for a terminal that is paused

std::optional<int64_t> parent_of(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text, '\0');
  size_t name_end = text.rfind(')');  // a name may hold parentheses and spaces
  if (name_end == std::string::npos || text.size() < name_end + 4) return std::nullopt;
  return std::strtoll(text.c_str() + name_end + 4, nullptr, 10);
}

// Is this process one of the leaders, or did one of them start it?
bool belongs_to(const std::set<int64_t>& leaders, int64_t pid) {
  constexpr int kMaxDepth = 16;
  if (leaders.contains(getpgid(static_cast<pid_t>(pid)))) return true;
  std::optional<int64_t> ancestor = pid;
  for (int i = 0; i < kMaxDepth && ancestor && *ancestor > 1; ++i) {
    if (leaders.contains(*ancestor)) return true;
    ancestor = parent_of(*ancestor);
  }
  return false;
}

std::optional<std::vector<GroupView>> ask_for_groups(const std::string& socket_path) {
  auto client = Client::connect(socket_path, kStatusPatience);
  if (!client) return std::nullopt;
  auto document = client->status();
  if (!document) return std::nullopt;
  auto groups = parse_status(*document);
  if (!groups) return std::nullopt;
  return std::move(*groups);
}

bool has_terminal() {
  return static_cast<bool>(Fd(open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY)));
}

// A server that was first told to end by one stop signal and then by the other may end by either.
bool well(int status, const std::optional<int>& asked) {
  if (status == 0 || !asked) return status == 0;
  return status == 128 + *asked || status == 128 + SIGTERM || status == 128 + SIGINT;
}

std::string seconds_text(Clock::duration duration) {
  const auto tenths = std::chrono::round<milliseconds>(duration).count() / 100;
  const std::string fraction = tenths % 10 != 0 ? "." + std::to_string(tenths % 10) : "";
  return std::to_string(tenths / 10) + fraction + " s";
}

std::string ending(int status) {
  if (status <= 128) return "ended with status " + std::to_string(status);
  const char* name = sigabbrev_np(status - 128);
  return name != nullptr ? std::string("was ended by SIG") + name
                         : "ended with status " + std::to_string(status);
}

}  // namespace

Supervisor::Supervisor(Setup setup)
    : setup_(std::move(setup)),
      seats_(setup_.copies),
      standing_(setup_.copies),
      next_standing_(Clock::now() + kStandingInterval),
      had_terminal_(has_terminal()) {}

const std::vector<int>& Supervisor::handled_signals() {
  static const std::vector<int> kSignals = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
  return kSignals;
}

Result<int> Supervisor::run() {
  for (uint32_t number = 0; number < setup_.copies; ++number) {
    auto started = start(number, Role::Current);
    if (!started) return fail(started.error(), "start instance " + std::to_string(number));
  }
  while (!finished()) {
    wait_for_events();
    bury_ended();
    do_what_is_due();
  }
  return first_failure_.value_or(0);
}

bool Supervisor::finished() {
  bool restarting = std::any_of(seats_.begin(), seats_.end(),
                                [](const Seat& seat) { return seat.restart_at.has_value(); });
  if (!running_.empty() || restarting) return false;
  if (!all_ended_) all_ended_ = Clock::now();
  if (output_.empty() && errors_.empty()) return true;
  return stop_asked_ && Clock::now() >= *all_ended_ + kOutputPatience;
}

void Supervisor::say(const std::string& text) {
  errors_.queue() += "subset: " + text + "\n";
}

// --- processes -------------------------------------------------------------------------------

Result<uint64_t> Supervisor::start(uint32_t number, Role role) {
  std::string share = std::to_string(number) + "/" + std::to_string(setup_.copies);
  auto lineage = random_lineage();
  if (!lineage) return tl::make_unexpected(lineage.error());
  auto plan = plan_start(setup_.launch, share, *lineage);
  if (!plan) return tl::make_unexpected(plan.error());
  auto instance = start_instance(*plan, "[" + std::to_string(number) + "] ");
  if (!instance) return tl::make_unexpected(instance.error());
  setup_.guardian.watch(instance->process.pid());
  running_.push_back(Running{.id = next_id_++,
                             .number = number,
                             .role = role,
                             .instance = std::move(*instance),
                             .asked = std::nullopt,
                             .urge_at = std::nullopt,
                             .kill_at = std::nullopt});
  return running_.back().id;
}

Supervisor::Running* Supervisor::find(uint64_t id) {
  auto found = std::find_if(running_.begin(), running_.end(),
                            [id](const Running& each) { return each.id == id; });
  return found != running_.end() ? &*found : nullptr;
}

Supervisor::Running* Supervisor::current_of(uint32_t number) {
  auto found = std::find_if(running_.begin(), running_.end(), [number](const Running& each) {
    return each.number == number && each.role == Role::Current;
  });
  return found != running_.end() ? &*found : nullptr;
}

void Supervisor::ask_to_end(Running& running, int signal) {
  running.instance.process.signal(signal);
  if (!running.asked) running.kill_at = Clock::now() + kEndPatience;
  if (signal == SIGINT) running.urge_at = Clock::now() + kInterruptPatience;
  running.asked = signal;
}

void Supervisor::stop_all(int signal) {
  auto now = Clock::now();
  if (stop_asked_) {
    if (now >= *stop_asked_ + kSameStop) kill_all();
    return;
  }
  stop_asked_ = now;
  roll_queue_.clear();
  roll_.reset();
  for (Seat& seat : seats_) seat.restart_at.reset();
  for (Running& running : running_) ask_to_end(running, signal);
}

void Supervisor::kill_all() {
  for (Running& running : running_) {
    running.asked = SIGKILL;
    running.instance.process.kill_group();
  }
}

void Supervisor::bury_ended() {
  for (auto each = running_.begin(); each != running_.end();) {
    pid_t pid = each->instance.process.pid();
    auto status = each->ended ? each->instance.process.reap() : std::nullopt;
    if (status) {
      setup_.guardian.forget(pid);
      bury(*each, *status);
    }
    each = status ? running_.erase(each) : std::next(each);
  }
}

void Supervisor::bury(Running& running, int status) {
  running.instance.output.finish(output_);
  running.instance.errors.finish(errors_);
  const bool fine = well(status, running.asked);
  if (!fine) say("instance " + std::to_string(running.number) + " " + ending(status));
  if (running.role == Role::Current)
    seat_is_empty(running.number, fine ? 0 : status, Clock::now() - running.instance.started);
}

void Supervisor::seat_is_empty(uint32_t number, int status, Clock::duration ran) {
  if (status == 0 || has_roll_newcomer(number)) return;
  if (setup_.restart && !stop_asked_) {
    restart_later(number, ran);
  } else if (!first_failure_) {
    first_failure_ = status;
  }
}

void Supervisor::restart_later(uint32_t number, Clock::duration ran) {
  const auto delay = seats_[number].backoff.next(ran);
  seats_[number].restart_at = Clock::now() + delay;
  say("instance " + std::to_string(number) + " is started again in " + seconds_text(delay));
}

bool Supervisor::has_roll_newcomer(uint32_t number) {
  return roll_ && roll_->number == number && roll_->phase == RollPhase::Joining &&
         find(roll_->newcomer_id) != nullptr;
}

// --- events ----------------------------------------------------------------------------------

void Supervisor::watch_stream(std::vector<Watch>& list, Stream& stream, Sink& sink) {
  if (!stream.pipe || sink.full()) return;
  list.push_back({stream.pipe.get(), POLLIN, [&stream, &sink] {
                    if (!stream.read_some(sink)) stream.finish(sink);
                  }});
}

std::vector<Supervisor::Watch> Supervisor::watches() {
  std::vector<Watch> list;
  list.push_back({setup_.signals.get(), POLLIN, [this] { read_signals(); }});
  if (setup_.daemon && setup_.daemon->pidfd() >= 0)
    list.push_back({setup_.daemon->pidfd(), POLLIN, [] {}});  // do_what_is_due() looks after it
  for (Sink* sink : {&output_, &errors_})
    if (!sink->empty()) list.push_back({sink->fd(), POLLOUT, [sink] { sink->write_some(); }});
  for (Running& each : running_) {
    list.push_back({each.instance.process.pidfd(), POLLIN, [&each] { each.ended = true; }});
    watch_stream(list, each.instance.output, output_);
    watch_stream(list, each.instance.errors, errors_);
  }
  return list;
}

void Supervisor::wait_for_events() {
  std::vector<Watch> list = watches();
  std::vector<pollfd> polled;
  polled.reserve(list.size());
  for (const Watch& each : list)
    polled.push_back({.fd = each.fd, .events = each.events, .revents = 0});
  auto wait = duration_cast<milliseconds>(next_deadline() - Clock::now()) + milliseconds(1);
  int timeout = static_cast<int>(std::clamp<int64_t>(wait.count(), 0, 60'000));
  if (poll(polled.data(), polled.size(), timeout) <= 0) return;
  for (size_t i = 0; i < list.size(); ++i)
    if (polled[i].revents != 0) list[i].ready();
}

Clock::time_point Supervisor::next_deadline() {
  Clock::time_point earliest = Clock::now() + seconds(60);
  auto consider = [&earliest](const std::optional<Clock::time_point>& time) {
    if (time) earliest = std::min(earliest, *time);
  };
  for (const Running& each : running_) {
    consider(each.urge_at);
    consider(each.kill_at);
    for (const Stream* stream : {&each.instance.output, &each.instance.errors})
      if (stream->lines.pending()) consider(stream->since + kPartialLine);
  }
  for (const Seat& seat : seats_) consider(seat.restart_at);
  if (roll_) consider(roll_->next_look);
  if (!stop_asked_ && !roll_) consider(next_standing_);
  if (setup_.daemon) consider(setup_.daemon->restart_at());
  if (all_ended_ && stop_asked_) consider(*all_ended_ + kOutputPatience);
  return earliest;
}

void Supervisor::read_signals() {
  signalfd_siginfo info{};
  while (read(setup_.signals.get(), &info, sizeof info) == sizeof info)
    handle_signal(static_cast<int>(info.ssi_signo));
}

void Supervisor::handle_signal(int number) {
  // A terminal that is closed hangs up too, and nobody is left to stop us later.
  bool hung_up = number == SIGHUP && had_terminal_ && !has_terminal();
  if (number == SIGTERM || number == SIGINT || hung_up) {
    stop_all(hung_up ? SIGTERM : number);
  } else if (number == SIGHUP) {
    begin_roll();
  } else {
    for (Running& each : running_) each.instance.process.signal(number);
  }
}

void Supervisor::flush_partial_lines(Clock::time_point now) {
  auto flush = [now](Stream& stream, Sink& sink) {
    if (stream.lines.pending() && now >= stream.since + kPartialLine)
      stream.lines.flush(sink.queue());
  };
  for (Running& each : running_) {
    flush(each.instance.output, output_);
    flush(each.instance.errors, errors_);
  }
}

void Supervisor::do_what_is_due() {
  auto now = Clock::now();
  flush_partial_lines(now);
  for (Running& each : running_) {
    if (!each.urge_at || now < *each.urge_at) continue;
    each.urge_at.reset();
    ask_to_end(each, SIGTERM);
  }
  for (Running& each : running_) {
    if (!each.kill_at || now < *each.kill_at) continue;
    each.kill_at.reset();
    say("instance " + std::to_string(each.number) + " did not end within 10 s: killing it");
    each.instance.process.kill_group();
  }
  for (uint32_t number = 0; number < seats_.size(); ++number) {
    Seat& seat = seats_[number];
    if (!seat.restart_at || now < *seat.restart_at) continue;
    seat.restart_at.reset();
    auto started = start(number, Role::Current);
    if (started) continue;
    say("cannot start instance " + std::to_string(number) + ": " + started.error().message());
    restart_later(number, {});
  }
  roll_on(now);
  look_at_standing(now);
  if (!setup_.daemon) return;
  if (auto news = setup_.daemon->look_after()) say(*news);
}

// --- rolling restart -------------------------------------------------------------------------

void Supervisor::begin_roll() {
  if (stop_asked_) return;
  // Asked again in the middle: once more from the beginning, behind the one under way.
  roll_queue_.resize(setup_.copies);
  std::iota(roll_queue_.begin(), roll_queue_.end(), 0);
  say("rolling restart: " + std::to_string(setup_.copies) + " instances, one after the other");
  roll_begun_ = Clock::now();
  if (!roll_) roll_next();
}

void Supervisor::roll_next() {
  roll_.reset();
  while (!roll_ && !roll_queue_.empty()) {
    uint32_t number = roll_queue_.front();
    roll_queue_.pop_front();
    Running* old = current_of(number);
    if (old == nullptr) continue;  // ended, or about to be brought back: new anyway
    auto newcomer = start(number, Role::Newcomer);
    if (!newcomer) {
      say("rolling restart: instance " + std::to_string(number) + ": " +
          newcomer.error().message());
      roll_queue_.clear();
      return;
    }
    auto now = Clock::now();
    roll_ = Roll{.number = number,
                 .old_id = old->id,
                 .newcomer_id = *newcomer,
                 .phase = RollPhase::Joining,
                 .entered = now,
                 .next_look = now + kRollInterval};
  }
  if (!roll_) say("rolling restart: done in " + seconds_text(Clock::now() - roll_begun_));
}

std::optional<SeatView> Supervisor::ask_about_seat() {
  Running* old = find(roll_->old_id);
  Running* newcomer = find(roll_->newcomer_id);
  if (old == nullptr || newcomer == nullptr) return std::nullopt;
  auto groups = ask_for_groups(setup_.socket_path);
  if (!groups) return std::nullopt;
  auto belongs = [](const Running& running) -> Belongs {
    return [leaders = std::set<int64_t>{running.instance.process.pid()}](int64_t pid) {
      return belongs_to(leaders, pid);
    };
  };
  return seat_view(*groups, roll_->number, belongs(*old), belongs(*newcomer));
}

RollFacts Supervisor::facts_of_roll(Clock::time_point now) {
  RollFacts facts{.old_runs = find(roll_->old_id) != nullptr,
                  .newcomer_runs = find(roll_->newcomer_id) != nullptr,
                  .seat = std::nullopt,
                  .in_phase = duration_cast<milliseconds>(now - roll_->entered),
                  .drain_patience = setup_.drain_patience};
  if (roll_->phase != RollPhase::Stopping) facts.seat = ask_about_seat();
  return facts;
}

void Supervisor::roll_on(Clock::time_point now) {
  if (!roll_ || now < roll_->next_look) return;
  RollFacts facts = facts_of_roll(now);
  RollPhase phase = next_phase(roll_->phase, facts);
  if (phase != roll_->phase) enter(phase, facts);
  if (roll_) roll_->next_look = Clock::now() + kRollInterval;
}

void Supervisor::enter(RollPhase phase, const RollFacts& facts) {
  if (phase == RollPhase::Abandoned) return abandon_roll(facts);
  if (roll_->phase == RollPhase::Joining) hand_over();
  const bool finished = facts.seat && facts.seat->empty();
  if (roll_->phase == RollPhase::Draining && phase == RollPhase::Stopping && !finished)
    say("instance " + std::to_string(roll_->number) + ": the old process is stopped although " +
        seconds_text(setup_.drain_patience) +
        " were not enough for it: " + leftover_text(facts.seat));
  roll_->phase = phase;
  roll_->entered = Clock::now();
  Running* old = find(roll_->old_id);
  if (phase == RollPhase::Stopping && old != nullptr) ask_to_end(*old, SIGTERM);
  if (phase == RollPhase::Done) roll_next();
}

void Supervisor::hand_over() {
  if (Running* old = find(roll_->old_id)) old->role = Role::Leaving;
  Running* newcomer = find(roll_->newcomer_id);
  if (newcomer == nullptr) return;
  newcomer->role = Role::Current;
  say("rolling restart: instance " + std::to_string(newcomer->number) + " is process " +
      std::to_string(newcomer->instance.process.pid()) + " now");
}

void Supervisor::abandon_roll(const RollFacts& facts) {
  Running* old = find(roll_->old_id);
  say("rolling restart stops at instance " + std::to_string(roll_->number) + ": the new process " +
      (facts.newcomer_runs ? "did not join within 10 s" : "ended before it had joined") +
      (old != nullptr ? "; the old one stays" : ""));
  if (Running* newcomer = find(roll_->newcomer_id)) {
    newcomer->role = Role::Leaving;
    ask_to_end(*newcomer, SIGTERM);
  }
  uint32_t number = roll_->number;
  roll_queue_.clear();
  roll_.reset();
  if (old == nullptr) seat_is_empty(number, 1, {});
}

// --- beside other runs -----------------------------------------------------------------------

// Not while instances are being replaced by our own hand: that looks the same.
void Supervisor::look_at_standing(Clock::time_point now) {
  if (roll_ || stop_asked_ || now < next_standing_) return;
  const auto groups = ask_for_groups(setup_.socket_path);
  next_standing_ = Clock::now() + (groups ? kStandingInterval : kNoAnswerPause);
  if (!groups) return;
  std::set<int64_t> leaders;
  for (const Running& each : running_) leaders.insert(each.instance.process.pid());
  const auto ours = [&](int64_t pid) { return belongs_to(leaders, pid); };
  for (const std::string& line : standing_.news(*groups, ours)) say(line);
  end_if_replaced();
}

// The daemon that this run embeds is theirs too who have replaced it.
void Supervisor::end_if_replaced() {
  if (!setup_.until_replaced || !standing_.done()) return;
  if (!setup_.daemon) return stop_all(SIGTERM);
  if (!std::exchange(told_to_stay_, true))
    say("this run has been replaced, and stays for the daemon that it embeds");
}

}  // namespace subset::ctl
