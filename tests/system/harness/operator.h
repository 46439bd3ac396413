// SPDX-License-Identifier: MIT
// An operator's orders to a daemon, as the command `subset` sends them.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "protocol/message.h"
#include "protocol/policy.h"
#include "tests/system/harness/daemon_process.h"

namespace subset::test {

struct Order {
  protocol::Verb verb{};
  uint32_t instance = protocol::Change::kAll;
  uint32_t value = 0;
};

Order drain(uint32_t instance);
Order resume(uint32_t instance);
Order weight(uint32_t instance, uint32_t value);
Order mode(Mode mode);
Order activate();
Order abandon();

struct Verdict {
  int error = 0;
  std::string text;
};

// Asks, as root or as another user, and gives back the daemon's word.
Verdict ask(const DaemonProcess& daemon, const std::string& group, const Order& order,
            std::optional<uid_t> user = {});

// Throws if the daemon refuses.
void tell(const DaemonProcess& daemon, const std::string& group, const Order& order);

}  // namespace subset::test
