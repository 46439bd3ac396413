// SPDX-License-Identifier: MIT
// Members that a test makes by hand: sockets of its own, which it registers as a shim would.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "protocol/message.h"
#include "tests/system/harness/control.h"

namespace subset::test {

// A UDP socket with SO_REUSEPORT that is bound there.
Fd shared_socket(const std::string& address);

// One that asks for a share, and for nothing else.
protocol::Register registration(uint64_t lineage, uint32_t total, uint32_t instance);

// What the daemon at this control socket says to a message: an errno, or 0. Empty: it hung up.
std::optional<int> answer_to(const std::string& daemon, const std::string& message,
                             const std::vector<int>& descriptors = {},
                             Clock::duration limit = kPatience);

}  // namespace subset::test
