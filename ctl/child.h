// SPDX-License-Identifier: MIT
// A process that the command started: its life, its signals, its output.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "ctl/output.h"
#include "ctl/run_plan.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::ctl {

using Clock = std::chrono::steady_clock;

// Owns a child process from fork to reaping. What is not reaped when the owner goes is killed: no
// error on the way may leave a server behind.
class Process {
 public:
  Process() = default;
  Process(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  Process(Process&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}
  Process& operator=(Process&& other) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { destroy(); }

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable once the process has ended
  explicit operator bool() const { return pid_ > 0; }

  // To the process itself, which knows what to tell its workers.
  void signal(int number) const;
  // To it and to what it left in its process group.
  void kill_group() const;
  // How it ended, as a shell would say (128 + signal); nullopt: it has not. What is left of its
  // group is killed: nobody else looks after that.
  std::optional<int> reap();
  // The same after waiting, at most `patience`.
  std::optional<int> wait(std::chrono::milliseconds patience);

 private:
  void destroy();

  pid_t pid_ = 0;
  Fd pidfd_;
};

// fork(), as a process group of its own that ends with us. `body` is the child's whole life: its
// value is the exit status. The child starts with our signal mask.
Result<Process> fork_process(const std::function<int()>& body);

// One of the two streams of an instance.
struct Stream {
  Fd pipe;
  LinePrefixer lines;
  Clock::time_point since;  // of an incomplete line

  // Takes what is there; false at the end of the stream.
  bool read_some(Sink& sink);
  void finish(Sink& sink);  // without waiting for what is not there yet
};

struct Instance {
  Process process;
  Stream output, errors;
  Clock::time_point started;
};

// Runs the plan with its output in pipes and nothing to read.
Result<Instance> start_instance(const Start& start, const std::string& prefix);

// Each instance costs three descriptors: as many as the hard limit allows. The instances get the
// limit that we were given.
void allow_many_descriptors();

}  // namespace subset::ctl
