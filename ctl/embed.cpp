// SPDX-License-Identifier: MIT
#include "ctl/embed.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

#include "daemon/base/log.h"
#include "daemon/daemon.h"

namespace subset::ctl {
namespace {

using std::chrono::seconds;

// Then comes where its page is.
constexpr std::string_view kReady = "ready ";

struct Wanted {
  const std::string& path;  // of the control socket
  const std::optional<std::string>& http;
};

Result<std::unique_ptr<Daemon>> create(const Wanted& wanted, Fd listener) {
  DaemonOptions options;
  options.socket_path = wanted.path;
  options.pin_dir = pin_directory(wanted.path);
  options.listener = std::move(listener);
  options.remove_on_exit = true;
  if (wanted.http) {
    if (auto set = set_value(options, "http", "listen", *wanted.http); !set)
      return tl::make_unexpected(set.error());
  }
  return Daemon::create(std::move(options));
}

// The whole life of the forked daemon. `ready` hears one line: kReady, or what went wrong.
int serve(const Wanted& wanted, Fd listener, Fd ready) {
  prctl(PR_SET_NAME, "subsetd", 0, 0, 0);
  // A daemon of ours has a person before it, who wants to hear of trouble alone.
  if (auto log = start_log("warn"); !log) return 1;
  auto daemon = create(wanted, std::move(listener));
  const std::string word =
      daemon ? std::string(kReady) + (*daemon)->page() : daemon.error().message();
  bool heard = write(ready.get(), word.data(), word.size()) > 0;
  ready.reset();
  if (!daemon && !heard) dprintf(STDERR_FILENO, "subset: daemon: %s\n", word.c_str());
  if (!daemon) return 1;
  auto ran = (*daemon)->run();
  if (!ran) dprintf(STDERR_FILENO, "subset: daemon: %s\n", ran.error().message().c_str());
  return ran ? 0 : 1;
}

// The pipe ends of instances do not belong in the daemon: it would keep them from ending.
int serve_alone(const Wanted& wanted, int listener, int ready) {
  constexpr int kFirst = 3;
  Fd high_listener(fcntl(listener, F_DUPFD_CLOEXEC, kFirst + 2));
  Fd high_ready(fcntl(ready, F_DUPFD_CLOEXEC, kFirst + 2));
  if (dup3(high_listener.get(), kFirst, O_CLOEXEC) < 0 ||
      dup3(high_ready.get(), kFirst + 1, O_CLOEXEC) < 0)
    return 1;
  high_listener.reset();
  high_ready.reset();
  close_range(kFirst + 2, ~0U, 0);
  return serve(wanted, Fd(kFirst), Fd(kFirst + 1));
}

// Where the daemon's page is.
Result<std::string> wait_until_ready(const Fd& pipe) {
  constexpr int kPatience = 10000;  // ms
  pollfd ready{.fd = pipe.get(), .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, kPatience) <= 0) return fail(ETIMEDOUT, "it did not start within 10 s");
  char word[512];
  ssize_t size = read(pipe.get(), word, sizeof word);
  if (size <= 0) return fail(0, "it ended while starting");
  std::string said(word, static_cast<size_t>(size));
  if (!said.starts_with(kReady)) return fail(0, said);
  return said.substr(kReady.size());
}

}  // namespace

std::string pin_directory(const std::string& socket_path) {
  std::string directory = DaemonOptions().pin_dir;
  if (socket_path == protocol::kDefaultSocketPath) return directory;
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (unsigned char byte : socket_path) hash = (hash ^ byte) * 0x100000001b3;
  char name[18];
  std::snprintf(name, sizeof name, "-%016llx", static_cast<unsigned long long>(hash));
  return directory + name;
}

Result<std::unique_ptr<EmbeddedDaemon>> EmbeddedDaemon::start(
    const std::string& path, const std::optional<std::string>& http) {
  auto socket = control::Listener::at_path(path);
  if (!socket) return tl::make_unexpected(socket.error());
  std::unique_ptr<EmbeddedDaemon> daemon(new EmbeddedDaemon(std::move(*socket), path, http));
  auto ready = daemon->fork_daemon();
  if (!ready) return tl::make_unexpected(ready.error());
  auto page = wait_until_ready(*ready);
  if (!page) return tl::make_unexpected(page.error());
  daemon->page_ = std::move(*page);
  return daemon;
}

Result<Fd> EmbeddedDaemon::fork_daemon() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  auto process = fork_process([&] {
    return serve_alone({path_, http_}, socket_.fd(), theirs.get());
  });
  if (!process) return tl::make_unexpected(process.error());
  process_ = std::move(*process);
  started_ = Clock::now();
  return ours;
}

std::optional<std::string> EmbeddedDaemon::look_after() {
  if (process_) {
    auto status = process_.reap();
    if (!status) return std::nullopt;
    auto delay = backoff_.next(Clock::now() - started_);
    restart_at_ = Clock::now() + delay;
    return "the daemon ended with status " + std::to_string(*status) + ": starting it again";
  }
  if (!restart_at_ || Clock::now() < *restart_at_) return std::nullopt;
  restart_at_.reset();
  // Nobody waits for the word: the daemon's end says it as well.
  auto ready = fork_daemon();
  if (ready) return std::nullopt;
  restart_at_ = Clock::now() + Backoff::kLongest;
  return "cannot start the daemon again: " + ready.error().message();
}

EmbeddedDaemon::~EmbeddedDaemon() {
  process_.signal(SIGTERM);
  if (process_) process_.wait(seconds(5));
}

}  // namespace subset::ctl
