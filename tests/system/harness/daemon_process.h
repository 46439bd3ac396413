// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/status.h"

namespace subset::test {

// A `subsetd` with a control socket and a pin directory of its own, and a configuration, in TOML,
// that is not the machine's.
class DaemonProcess {
 public:
  enum class Listener {
    Own,   // the daemon makes its control socket; when it is dead, connections are refused
    Kept,  // as with systemd's socket activation: somebody keeps the socket open, and what is asked
           // while no daemon runs waits in its queue
  };

  // Serves when it returns.
  explicit DaemonProcess(Machine& machine, Listener listener = Listener::Own,
                         std::string http = "off", const std::string& config = "");
  ~DaemonProcess();

  void start();
  // The same without waiting: it may not be there yet, or fail.
  void spawn();
  void kill9();
  // As a service manager stops it; gives back its exit status.
  int stop();
  // It hangs, until it wakes up.
  void hang() const;
  void wake() const;

  const std::string& socket() const { return socket_; }
  const std::string& pins() const { return pins_; }
  pid_t pid() const { return process_->pid(); }
  bool alive() const { return process_ && process_->alive(); }
  Document status() const { return fetch_status(socket_); }
  std::string err() const { return process_->err(); }

  size_t descriptors() const;
  // The fewest it had for a while: without connections that it has yet to notice the end of.
  size_t idle_descriptors() const;
  // "socket:[1234]" and the like.
  std::vector<std::string> descriptor_names() const;
  // A line of /proc/PID/status, "CapEff".
  std::string kernel_says(const std::string& name) const;

  // What a shim needs to find it and to be instance and total: `share` is "3/8", "auto".
  Environment environment(const std::string& share) const;

 private:
  Machine& machine_;
  std::string socket_;
  std::string pins_;
  std::string http_;    // where it serves HTTP
  std::string config_;  // its file
  Fd listener_;
  std::optional<Process> process_;
};

// The variables of a preloaded server whose daemon is (or is not) behind `socket`.
Environment shim_environment(const std::string& socket, const std::string& share);

// Does a daemon answer at this control socket, by now?
bool answers(const std::string& socket);

// "socket:[1234]" and the like: what /proc/PID/fd links to.
std::vector<std::string> descriptor_names(pid_t pid);

}  // namespace subset::test
