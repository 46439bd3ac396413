// SPDX-License-Identifier: MIT
// A daemon for as long as `subset run` runs, where none runs already.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "ctl/backoff.h"
#include "ctl/child.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// The control socket, made and kept open by us: what servers ask while the daemon is being
// restarted waits in its queue. Takes the socket's file away at the end, if it is still ours.
class ControlSocket {
 public:
  static Result<ControlSocket> create(const std::string& path);
  ControlSocket(ControlSocket&& other) noexcept = default;
  ControlSocket& operator=(ControlSocket&&) = delete;
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;
  ~ControlSocket();

  int fd() const { return listener_.get(); }
  const std::string& path() const { return path_; }

 private:
  ControlSocket(Fd listener, std::string path, ino_t inode)
      : listener_(std::move(listener)), path_(std::move(path)), inode_(inode) {}

  Fd listener_;
  std::string path_;
  ino_t inode_;
};

class EmbeddedDaemon {
 public:
  // Ready to serve when it returns.
  static Result<std::unique_ptr<EmbeddedDaemon>> start(const std::string& path);
  // Stops it, within bounds.
  ~EmbeddedDaemon();
  EmbeddedDaemon(const EmbeddedDaemon&) = delete;
  EmbeddedDaemon& operator=(const EmbeddedDaemon&) = delete;

  int pidfd() const { return process_.pidfd(); }  // -1 while none runs
  std::optional<Clock::time_point> restart_at() const { return restart_at_; }
  // Call when pidfd() is readable or restart_at() has come. A line for people, where there is one.
  std::optional<std::string> look_after();

 private:
  explicit EmbeddedDaemon(ControlSocket socket) : socket_(std::move(socket)) {}
  // The pipe on which the new daemon says "ready", or why it is not.
  Result<Fd> fork_daemon();

  ControlSocket socket_;
  Process process_;
  Clock::time_point started_;
  Backoff backoff_;
  std::optional<Clock::time_point> restart_at_;
};

}  // namespace subset::ctl
