// SPDX-License-Identifier: MIT
// Which sockets on a group's port take its traffic although they are no members, and why. Pure.
//
// The kernel looks a packet's socket up by namespace, port and address; the more specific address
// wins, and among equals each owner has a group of its own. Nothing errors: who escaped the shim,
// or was started by another user, silently takes a part or all.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "daemon/model/registry.h"

namespace subset {

// A socket bound (UDP) or listening (TCP) in the group's namespace on its protocol and port.
struct SocketOnPort {
  Cookie cookie = 0;
  Family family = Family::Inet;
  std::array<uint8_t, 16> address{};
  uint32_t uid = 0;
};

// Why the socket is a stranger to the group; empty: it does not concern it. Members are not asked.
std::optional<std::string> strangeness(const Group& group, const SocketOnPort& socket);

}  // namespace subset
