// SPDX-License-Identifier: MIT
#include "ctl/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "ctl/start.h"

namespace subset::ctl {
namespace {

rlimit& original_limit() {
  static rlimit limit = [] {
    rlimit found{};
    getrlimit(RLIMIT_NOFILE, &found);
    return found;
  }();
  return limit;
}

int shell_status(const siginfo_t& info) {
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void default_signals() {
  for (int number : {SIGPIPE, SIGHUP, SIGINT, SIGQUIT}) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

struct Pipe {
  Fd ours, theirs;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a pipe");
  return pipe;
}

// In the child. Comes back only if there is no such program; what it says then is prefixed like all
// that the instance says.
int become_instance(const Start& start, const Fd& input, const Fd& output, const Fd& errors) {
  default_signals();
  setrlimit(RLIMIT_NOFILE, &original_limit());
  if (dup2(input.get(), STDIN_FILENO) < 0 || dup2(output.get(), STDOUT_FILENO) < 0 ||
      dup2(errors.get(), STDERR_FILENO) < 0)
    return 126;
  Error error = become(start);
  dprintf(STDERR_FILENO, "subset: %s\n", error.message().c_str());
  return error.code == ENOENT ? 127 : 126;
}

}  // namespace

// --- Process ---------------------------------------------------------------------------------

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    destroy();
    pid_ = std::exchange(other.pid_, 0);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

void Process::destroy() {
  if (pid_ <= 0) return;
  kill_group();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  pid_ = 0;
}

void Process::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);  // not reaped yet: the number is still its own
}

void Process::kill_group() const {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);  // it may have left its group
}

std::optional<int> Process::reap() {
  siginfo_t info{};
  // WNOWAIT: as long as it is a zombie its number names this group and no other.
  if (pid_ <= 0 ||
      waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid == 0)
    return std::nullopt;
  ::kill(-pid_, SIGKILL);
  waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
  pid_ = 0;
  pidfd_.reset();
  return shell_status(info);
}

std::optional<int> Process::wait(std::chrono::milliseconds patience) {
  auto end = Clock::now() + patience;
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  for (auto left = patience; left.count() >= 0;
       left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now())) {
    if (poll(&ended, 1, static_cast<int>(left.count())) >= 0) break;
  }
  return reap();
}

Result<Process> fork_process(const std::function<int()>& body) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid == 0) {
    setpgid(0, 0);
    // Also when we are killed. The parent may have gone before this call.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    _exit(getppid() == parent ? body() : 1);
  }
  setpgid(pid, pid);  // in both: a signal to the group may come before the child runs
  // Not <sys/pidfd.h>, which glibc 2.36 declares without extern "C".
  Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    auto error = fail_errno("watch a process");
    Process doomed(pid, {});  // killed and reaped
    return error;
  }
  return Process(pid, std::move(pidfd));
}

// --- instances -------------------------------------------------------------------------------

bool Stream::read_some(Sink& sink) {
  char buffer[16384];
  ssize_t got = read(pipe.get(), buffer, sizeof buffer);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  std::string_view bytes(buffer, static_cast<size_t>(got));
  if (!lines.pending() || bytes.find('\n') != std::string_view::npos) since = Clock::now();
  lines.feed(bytes, sink.queue());
  return true;
}

void Stream::finish(Sink& sink) {
  // What a pipe can hold and no more: somebody who escaped may still write to it.
  constexpr int kPipeReads = 64;
  for (int i = 0; pipe && i < kPipeReads && read_some(sink); ++i) {
    pollfd more{.fd = pipe.get(), .events = POLLIN, .revents = 0};
    if (poll(&more, 1, 0) <= 0) break;
  }
  lines.flush(sink.queue());
  pipe.reset();
}

Result<Instance> start_instance(const Start& start, const std::string& prefix) {
  auto output = make_pipe();
  if (!output) return tl::make_unexpected(output.error());
  auto errors = make_pipe();
  if (!errors) return tl::make_unexpected(errors.error());
  Fd input(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input) return fail_errno("open /dev/null");
  auto process =
      fork_process([&] { return become_instance(start, input, output->theirs, errors->theirs); });
  if (!process) return tl::make_unexpected(process.error());
  auto now = Clock::now();
  return Instance{.process = std::move(*process),
                  .output = {std::move(output->ours), LinePrefixer(prefix), now},
                  .errors = {std::move(errors->ours), LinePrefixer(prefix), now},
                  .started = now};
}

void allow_many_descriptors() {
  rlimit limit = original_limit();
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace subset::ctl
