// SPDX-License-Identifier: MIT
#include "ctl/guardian.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <set>

namespace subset::ctl {
namespace {

constexpr std::chrono::seconds kPatience{10};

void signal_all(const std::set<pid_t>& groups, int number) {
  for (pid_t group : groups) kill(-group, number);
}

bool any_left(const std::set<pid_t>& groups) {
  for (pid_t group : groups)
    if (kill(-group, 0) == 0) return true;
  return false;
}

void stop_all(const std::set<pid_t>& groups) {
  signal_all(groups, SIGTERM);
  auto end = Clock::now() + kPatience;
  while (any_left(groups) && Clock::now() < end) poll(nullptr, 0, 100);
  signal_all(groups, SIGKILL);
}

// Whoever reads our output waits for its end: not for us.
void let_go_of_output() {
  Fd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing.get(), fd);
}

// Until the other end is closed, which the kernel does however the writer ends.
int guard(int words) {
  prctl(PR_SET_NAME, "subset-guard", 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);  // our parent's end is when the work begins
  let_go_of_output();
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  std::set<pid_t> groups;
  for (pid_t word = 0; read(words, &word, sizeof word) == sizeof word;) {
    if (word > 0) {
      groups.insert(word);
    } else {
      groups.erase(-word);
    }
  }
  stop_all(groups);
  return 0;
}

}  // namespace

Result<Guardian> Guardian::start() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  Fd ours(ends[1]);
  Fd theirs(ends[0]);
  // Never a reason to wait for: a guardian that was stopped.
  if (fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a pipe");
  auto process = fork_process([&] {
    ours.reset();
    return guard(theirs.get());
  });
  if (!process) return tl::make_unexpected(process.error());
  return Guardian(std::move(ours), std::move(*process));
}

Guardian::~Guardian() {
  if (!process_) return;
  words_.reset();
  process_.wait(kPatience + std::chrono::seconds(1));
}

void Guardian::watch(pid_t group) {
  tell(group);
}

void Guardian::forget(pid_t group) {
  tell(-group);
}

void Guardian::tell(pid_t word) {
  // A pipe holds thousands of words, and a write this small is whole or fails. Without a guardian
  // there is still PR_SET_PDEATHSIG.
  [[maybe_unused]] ssize_t done = write(words_.get(), &word, sizeof word);
}

}  // namespace subset::ctl
