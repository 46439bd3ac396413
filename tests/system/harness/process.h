// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "tests/system/harness/clock.h"
#include "tests/system/harness/machine.h"

namespace subset::test {

using Environment = std::map<std::string, std::string>;

struct Command {
  std::vector<std::string> argv;
  Environment environment;    // beside that of the test
  std::optional<uid_t> user;  // another than root
  int network = -1;           // another network namespace than the test's
  int listener = -1;          // passed on as descriptor 3, the way systemd does
};

inline constexpr uid_t kNobody = 65534;

// A program that runs; killed and reaped at the end. What it writes is kept.
class Process {
 public:
  Process(Machine& machine, Command command);
  Process(Process&&) = default;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  bool alive() const;
  void signal(int number) const;
  // Exit status, 128 + signal if one ended it; empty if it runs on when the limit is over.
  std::optional<int> wait(Clock::duration limit = kPatience);
  // SIGSTOP, and back only when it stands still.
  void stop() const;
  // Stops it where it waits in this system call, having done all that it was asked.
  void stop_in(long call) const;
  // SIGKILL, and back only when the kernel has closed all that it held (but for what an io_uring
  // still polls).
  void kill9();

  std::string out() const { return read_file(out_); }
  std::string err() const { return read_file(err_); }
  // Waits until it has written this to its standard output; false if it ends before.
  bool wrote(const std::string& text, Clock::duration limit = kPatience) const;

 private:
  void end() noexcept;

  pid_t pid_ = -1;
  Fd handle_;  // pidfd; empty once reaped
  std::optional<int> status_;
  std::filesystem::path out_;
  std::filesystem::path err_;
};

// Runs to its end.
struct Finished {
  int status = 0;
  std::string out;
  std::string err;
};
Finished run(Machine& machine, Command command, Clock::duration limit = 60s);

// The lines of a text that contain `part`.
std::vector<std::string> lines_with(const std::string& text, const std::string& part);

}  // namespace subset::test
