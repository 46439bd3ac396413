// SPDX-License-Identifier: MIT
#include "tests/system/harness/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/system/harness/fail.h"

extern "C" {  // which the header of glibc 2.36 forgets
#include <sys/pidfd.h>
}

namespace subset::test {
namespace {

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START
constexpr char kListenPid[] = "LISTEN_PID";

// The tests' variables, without those that would reach the programs from whoever runs the tests.
Environment base_environment() {
  Environment result;
  for (char** entry = environ; *entry; entry++) {
    std::string text = *entry;
    if (text.starts_with("SUBSET") || text.starts_with("LD_PRELOAD=")) continue;
    if (text.starts_with("LISTEN_") || text.starts_with("NOTIFY_SOCKET=")) continue;
    auto equals = text.find('=');
    result[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return result;
}

// Everything that needs memory is made before the fork: the test has threads, and one of them may
// hold malloc's lock at that moment.
struct Prepared {
  std::vector<std::string> words;
  std::vector<std::string> variables;
  std::vector<char*> argv;
  std::vector<char*> envp;
  char* listen_pid = nullptr;  // where the child writes its own number
};

constexpr size_t kPidDigits = 10;

void prepare(Prepared& prepared, const Command& command) {
  Environment environment = base_environment();
  for (const auto& [name, value] : command.environment) environment[name] = value;
  if (command.listener >= 0) {
    environment["LISTEN_FDS"] = "1";
    environment[kListenPid] = std::string(kPidDigits, '0');
  }
  prepared.words = command.argv;
  for (const auto& [name, value] : environment) {
    prepared.variables.push_back(name);
    prepared.variables.back().append("=").append(value);
  }
  for (std::string& word : prepared.words) prepared.argv.push_back(word.data());
  prepared.argv.push_back(nullptr);
  for (std::string& variable : prepared.variables) {
    prepared.envp.push_back(variable.data());
    if (variable.starts_with(kListenPid)) prepared.listen_pid = variable.data() + sizeof kListenPid;
  }
  prepared.envp.push_back(nullptr);
}

// Without zeros in front, which sd_listen_fds would take for octal.
void write_own_pid(char* digits) {
  size_t count = 1;
  for (pid_t pid = getpid(); pid >= 10; pid /= 10) count++;
  digits[count] = '\0';
  for (pid_t pid = getpid(); count > 0; pid /= 10)
    digits[--count] = static_cast<char>('0' + pid % 10);
}

bool become(uid_t user) {
  return setgroups(0, nullptr) == 0 && setresgid(user, user, user) == 0 &&
         setresuid(user, user, user) == 0;
}

[[noreturn]] void execute(Prepared& prepared, const Command& command, int out, int err) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (prepared.listen_pid) write_own_pid(prepared.listen_pid);
  bool ready = dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0;
  if (command.network >= 0) ready = ready && setns(command.network, CLONE_NEWNET) == 0;
  if (command.listener == kFirstPassed) {
    ready = ready && fcntl(kFirstPassed, F_SETFD, 0) == 0;
  } else if (command.listener >= 0) {
    ready = ready && dup2(command.listener, kFirstPassed) == kFirstPassed;
  }
  // Descriptors of whoever runs the tests are none of the program's business.
  close_range(command.listener >= 0 ? kFirstPassed + 1 : kFirstPassed, ~0U, 0);
  if (command.user) ready = ready && become(*command.user);
  if (ready) execvpe(prepared.argv[0], prepared.argv.data(), prepared.envp.data());
  _exit(127);
}

Fd create_file(const std::filesystem::path& path) {
  return Fd(checked(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644), path));
}

// The number of the system call that a stopped process was stopped in; -1: in none.
long stands_in(pid_t pid) {
  long number = -1;
  std::ifstream("/proc/" + std::to_string(pid) + "/syscall") >> number;
  return number;
}

bool is_stopped(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.compare(name_end, 3, ") T") == 0;
}

}  // namespace

Process::Process(Machine& machine, Command command) {
  std::string name = machine.unique(std::filesystem::path(command.argv.at(0)).filename());
  out_ = machine.file(name + ".out");
  err_ = machine.file(name + ".err");
  Fd out = create_file(out_);
  Fd err = create_file(err_);
  Prepared prepared;
  prepare(prepared, command);
  pid_ = checked(fork(), "fork");
  if (pid_ == 0) execute(prepared, command, out.get(), err.get());
  handle_.reset(checked(pidfd_open(pid_, 0), "pidfd_open"));
}

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  end();
  pid_ = other.pid_;
  handle_ = std::move(other.handle_);
  status_ = other.status_;
  out_ = std::move(other.out_);
  err_ = std::move(other.err_);
  return *this;
}

Process::~Process() {
  end();
}

void Process::end() noexcept {
  if (!handle_) return;
  pidfd_send_signal(handle_.get(), SIGKILL, nullptr, 0);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  handle_.reset();
}

bool Process::alive() const {
  if (!handle_) return false;
  pollfd exited{handle_.get(), POLLIN, 0};
  return poll(&exited, 1, 0) == 0;
}

void Process::signal(int number) const {
  checked(pidfd_send_signal(handle_.get(), number, nullptr, 0), "send a signal");
}

std::optional<int> Process::wait(Clock::duration limit) {
  if (status_) return status_;
  auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(limit * slowness()).count();
  pollfd exited{handle_.get(), POLLIN, 0};
  if (poll(&exited, 1, static_cast<int>(milliseconds)) != 1) return std::nullopt;
  int status = 0;
  checked(waitpid(pid_, &status, 0), "waitpid");
  handle_.reset();
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

void Process::stop() const {
  signal(SIGSTOP);
  if (!eventually([&] { return is_stopped(pid_); })) throw std::runtime_error("it does not stop");
}

void Process::stop_in(long call) const {
  const bool done = eventually([&] {
    stop();
    if (stands_in(pid_) == call) return true;
    signal(SIGCONT);
    return false;
  });
  if (!done) throw std::runtime_error("it never waits in system call " + std::to_string(call));
}

// A process is a zombie, and waitpid returns, only after the kernel has run its deferred closes.
void Process::kill9() {
  if (!handle_) return;
  signal(SIGKILL);
  if (!wait()) throw std::runtime_error("a killed process lives on");
}

bool Process::wrote(const std::string& text, Clock::duration limit) const {
  bool found = false;
  eventually(
      [&] {
        bool over = !alive();  // before the look: what it wrote last counts
        found = out().find(text) != std::string::npos;
        return found || over;
      },
      limit);
  return found;
}

Finished run(Machine& machine, Command command, Clock::duration limit) {
  std::string name = command.argv.at(0);
  Process process(machine, std::move(command));
  auto status = process.wait(limit);
  if (!status) throw std::runtime_error(name + " does not end: " + process.err());
  return {*status, process.out(), process.err()};
}

std::vector<std::string> lines_with(const std::string& text, const std::string& part) {
  std::vector<std::string> result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(part) != std::string::npos) result.push_back(line);
  }
  return result;
}

}  // namespace subset::test
