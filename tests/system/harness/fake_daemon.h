// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "daemon/base/fd.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/machine.h"

namespace subset::test {

// Somebody who sits on the control socket and is no daemon of ours: it does with each connection
// what it is told to, and hangs up.
class FakeDaemon {
 public:
  using Behaviour = std::function<void(const Connection&)>;

  FakeDaemon(Machine& machine, Behaviour behaviour);
  ~FakeDaemon();

  const std::string& socket() const { return socket_; }

 private:
  void work() const;

  std::string socket_;
  Behaviour behaviour_;
  Fd listener_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace subset::test
