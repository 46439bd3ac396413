// SPDX-License-Identifier: MIT
// A daemon for as long as `subset run` runs, where none runs already.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ctl/backoff.h"
#include "ctl/child.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/control/listener.h"

namespace subset::ctl {

// The control socket is ours and stays open: what servers ask while the daemon is being restarted
// waits in its queue.
class EmbeddedDaemon {
 public:
  // Ready to serve when it returns. `http`: where it is seen, which must be possible then; without,
  // the usual place, if that is free.
  static Result<std::unique_ptr<EmbeddedDaemon>> start(const std::string& path,
                                                       const std::optional<std::string>& http);
  // Stops it, within bounds.
  ~EmbeddedDaemon();
  EmbeddedDaemon(const EmbeddedDaemon&) = delete;
  EmbeddedDaemon& operator=(const EmbeddedDaemon&) = delete;

  // Where its dashboard is; empty: nowhere.
  const std::string& page() const { return page_; }

  int pidfd() const { return process_.pidfd(); }  // -1 while none runs
  std::optional<Clock::time_point> restart_at() const { return restart_at_; }
  // Call when pidfd() is readable or restart_at() has come. A line for people, where there is one.
  std::optional<std::string> look_after();

 private:
  EmbeddedDaemon(control::Listener socket, std::string path, std::optional<std::string> http)
      : socket_(std::move(socket)), path_(std::move(path)), http_(std::move(http)) {}
  // The pipe on which the new daemon says that it is ready, and where its page is; or why it is
  // not.
  Result<Fd> fork_daemon();

  control::Listener socket_;
  std::string path_;
  std::optional<std::string> http_;
  std::string page_;
  Process process_;
  Clock::time_point started_;
  Backoff backoff_;
  std::optional<Clock::time_point> restart_at_;
};

// Where its steering is pinned. Two daemons cannot share one place, so that beside one with the
// default socket, another needs its own; the same for the same socket, to find again what a run
// that was killed left there. Pure.
std::string pin_directory(const std::string& socket_path);

}  // namespace subset::ctl
