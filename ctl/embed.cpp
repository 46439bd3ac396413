// SPDX-License-Identifier: MIT
#include "ctl/embed.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "daemon/base/log.h"
#include "daemon/daemon.h"

namespace subset::ctl {
namespace {

using std::chrono::seconds;

constexpr char kReady[] = "ready";

Result<void> make_parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  std::string folder = path.substr(0, slash);
  if (mkdir(folder.c_str(), 0755) == 0) {
    // Whatever the umask: every user's servers are to reach the socket.
    if (chmod(folder.c_str(), 0755) != 0) return fail_errno("make " + folder + " accessible");
  } else if (errno != EEXIST) {
    return fail_errno("make the directory " + folder);
  }
  return {};
}

Result<Fd> listen_at(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path)
    return fail(ENAMETOOLONG, "make the control socket " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener) return fail_errno("make the control socket");
  unlink(path.c_str());
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      chmod(path.c_str(), 0666) != 0 || listen(listener.get(), SOMAXCONN) != 0)
    return fail_errno("make the control socket " + path);
  return listener;
}

Result<ino_t> inode_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return fail_errno("look at " + path);
  return info.st_ino;
}

// The whole life of the forked daemon. `ready` hears one word: kReady, or what went wrong.
int serve(const std::string& path, Fd listener, Fd ready) {
  prctl(PR_SET_NAME, "subsetd", 0, 0, 0);
  // A daemon of ours has a person before it, who wants to hear of trouble alone.
  if (auto log = start_log("warn"); !log) return 1;
  DaemonOptions options;
  options.socket_path = path;
  options.listener = std::move(listener);
  options.remove_on_exit = true;
  auto daemon = Daemon::create(std::move(options));
  std::string word = daemon ? kReady : daemon.error().message();
  bool heard = write(ready.get(), word.data(), word.size()) > 0;
  ready.reset();
  if (!daemon && !heard) dprintf(STDERR_FILENO, "subset: daemon: %s\n", word.c_str());
  if (!daemon) return 1;
  auto ran = (*daemon)->run();
  if (!ran) dprintf(STDERR_FILENO, "subset: daemon: %s\n", ran.error().message().c_str());
  return ran ? 0 : 1;
}

// The pipe ends of instances do not belong in the daemon: it would keep them from ending.
int serve_alone(const std::string& path, int listener, int ready) {
  constexpr int kFirst = 3;
  Fd high_listener(fcntl(listener, F_DUPFD_CLOEXEC, kFirst + 2));
  Fd high_ready(fcntl(ready, F_DUPFD_CLOEXEC, kFirst + 2));
  if (dup3(high_listener.get(), kFirst, O_CLOEXEC) < 0 ||
      dup3(high_ready.get(), kFirst + 1, O_CLOEXEC) < 0)
    return 1;
  high_listener.reset();
  high_ready.reset();
  close_range(kFirst + 2, ~0U, 0);
  return serve(path, Fd(kFirst), Fd(kFirst + 1));
}

Result<void> wait_until_ready(const Fd& pipe) {
  constexpr int kPatience = 10000;  // ms
  pollfd ready{.fd = pipe.get(), .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, kPatience) <= 0) return fail(ETIMEDOUT, "wait for it to start");
  char word[512];
  ssize_t size = read(pipe.get(), word, sizeof word);
  if (size <= 0) return fail(0, "it ended while starting");
  std::string said(word, static_cast<size_t>(size));
  if (said != kReady) return fail(0, said);
  return {};
}

}  // namespace

// --- ControlSocket ---------------------------------------------------------------------------

Result<ControlSocket> ControlSocket::create(const std::string& path) {
  if (auto made = make_parent_of(path); !made) return tl::make_unexpected(made.error());
  // Made beside and renamed: nobody ever finds a socket that does not listen yet, and what a
  // daemon that crashed left there is replaced.
  std::string beside = path + "." + std::to_string(getpid());
  auto listener = listen_at(beside);
  auto inode = inode_of(beside);
  if (!listener || !inode || rename(beside.c_str(), path.c_str()) != 0) {
    auto error = fail_errno("make the control socket " + path);
    unlink(beside.c_str());
    return listener ? error : tl::make_unexpected(listener.error());
  }
  return ControlSocket(std::move(*listener), path, *inode);
}

ControlSocket::~ControlSocket() {
  if (!listener_) return;
  auto inode = inode_of(path_);
  if (inode && *inode == inode_) unlink(path_.c_str());
}

// --- EmbeddedDaemon --------------------------------------------------------------------------

Result<std::unique_ptr<EmbeddedDaemon>> EmbeddedDaemon::start(const std::string& path) {
  auto socket = ControlSocket::create(path);
  if (!socket) return tl::make_unexpected(socket.error());
  std::unique_ptr<EmbeddedDaemon> daemon(new EmbeddedDaemon(std::move(*socket)));
  auto ready = daemon->fork_daemon();
  if (!ready) return tl::make_unexpected(ready.error());
  if (auto waited = wait_until_ready(*ready); !waited) return tl::make_unexpected(waited.error());
  return daemon;
}

Result<Fd> EmbeddedDaemon::fork_daemon() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno("make a pipe");
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  auto process =
      fork_process([&] { return serve_alone(socket_.path(), socket_.fd(), theirs.get()); });
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
