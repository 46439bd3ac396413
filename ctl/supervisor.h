// SPDX-License-Identifier: MIT
// `subset run` at work: the instances, their output, their ends. One thread, one poll.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctl/backoff.h"
#include "ctl/child.h"
#include "ctl/embed.h"
#include "ctl/guardian.h"
#include "ctl/output.h"
#include "ctl/roll.h"
#include "ctl/run_plan.h"
#include "ctl/standing.h"

namespace subset::ctl {

class Supervisor {
 public:
  struct Setup {
    Launch launch;
    uint32_t copies = 1;
    bool restart = false;
    std::chrono::milliseconds drain_patience{kDrainPatience};  // of a rolling restart
    bool until_replaced = false;  // ends by itself when others have taken over all it held
    std::string socket_path;      // where the daemon is asked
    std::unique_ptr<EmbeddedDaemon> daemon;  // or none
    Guardian guardian;
    Fd signals;  // a signalfd of handled_signals(), which are blocked
  };
  explicit Supervisor(Setup setup);

  static const std::vector<int>& handled_signals();

  // Until all have ended: the exit status. An error: they could not all be started; those that
  // were are gone.
  Result<int> run();

 private:
  enum class Role : uint8_t {
    Current,   // is the instance
    Newcomer,  // is to become it, in a rolling restart
    Leaving    // was it, and has been told to end
  };
  struct Running {
    uint64_t id;
    uint32_t number;
    Role role;
    Instance instance;
    bool ended = false;
    std::optional<int> asked;                  // the signal that it was told to end by
    std::optional<Clock::time_point> urge_at;  // if SIGINT alone has not ended it by then
    std::optional<Clock::time_point> kill_at;  // if it has not ended by then
  };
  struct Seat {
    Backoff backoff;
    std::optional<Clock::time_point> restart_at;
  };
  struct Roll {
    uint32_t number;
    uint64_t old_id, newcomer_id;
    RollPhase phase;
    Clock::time_point entered, next_look;
  };
  struct Watch {
    int fd;
    short events;
    std::function<void()> ready;
  };

  // Processes.
  Result<uint64_t> start(uint32_t number, Role role);
  void ask_to_end(Running& running, int signal);
  void stop_all(int signal);
  void kill_all();
  void bury_ended();
  void bury(Running& running, int status);
  void seat_is_empty(uint32_t number, int status, Clock::duration ran);
  void restart_later(uint32_t number, Clock::duration ran);
  Running* find(uint64_t id);
  Running* current_of(uint32_t number);

  // Events.
  void wait_for_events();
  std::vector<Watch> watches();
  void watch_stream(std::vector<Watch>& list, Stream& stream, Sink& sink);
  Clock::time_point next_deadline();
  void read_signals();
  void handle_signal(int number);
  void do_what_is_due();
  void flush_partial_lines(Clock::time_point now);
  bool finished();

  // Rolling restart.
  void begin_roll();
  void roll_next();
  void roll_on(Clock::time_point now);
  void enter(RollPhase phase, const RollFacts& facts);
  void hand_over();
  void abandon_roll(const RollFacts& facts);
  RollFacts facts_of_roll(Clock::time_point now);
  std::optional<SeatView> ask_about_seat();

  // Beside other runs.
  void look_at_standing(Clock::time_point now);
  void end_if_replaced();

  void say(const std::string& text);
  bool has_roll_newcomer(uint32_t number);

  Setup setup_;
  std::vector<Seat> seats_;
  std::list<Running> running_;
  uint64_t next_id_ = 1;
  Sink output_{1};
  Sink errors_{2};
  std::deque<uint32_t> roll_queue_;
  Clock::time_point roll_begun_;
  StandingReport standing_;
  Clock::time_point next_standing_;
  bool told_to_stay_ = false;
  std::optional<Roll> roll_;
  std::optional<Clock::time_point> stop_asked_;
  std::optional<Clock::time_point> all_ended_;
  std::optional<int> first_failure_;
  bool had_terminal_;
};

}  // namespace subset::ctl
