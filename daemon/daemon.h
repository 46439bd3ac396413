// SPDX-License-Identifier: MIT
// The daemon as a library: `subsetd` is a thin main around it, `subset run` embeds it.
#pragma once

#include <memory>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/config/config.h"

namespace subset {

// What is configured, and what the caller brings along.
struct DaemonOptions : Config {
  Fd listener;  // the control socket, where somebody else keeps it open (systemd, `subset run`):
                // what is asked while no daemon runs waits in its queue. Empty: make it.
  bool drop_capabilities = true;
  bool remove_on_exit = false;  // embedded: take groups without members down at the end
};

class Daemon {
 public:
  // Ready to serve when it returns: the control socket listens, groups found in the pins are
  // adopted.
  static Result<std::unique_ptr<Daemon>> create(DaemonOptions options);
  ~Daemon();

  // Until stop(), or SIGTERM or SIGINT, which it takes through a signalfd: the caller has blocked
  // them in all threads.
  Result<void> run();
  void stop();

  // Where the dashboard is: "http://127.0.0.1:9753/"; empty: nowhere.
  std::string page() const;

 private:
  struct Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace subset
