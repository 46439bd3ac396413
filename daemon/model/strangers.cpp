// SPDX-License-Identifier: MIT
#include "daemon/model/strangers.h"

#include <algorithm>

namespace subset {
namespace {

bool is_any(const std::array<uint8_t, 16>& address) {
  return std::all_of(address.begin(), address.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

std::optional<std::string> strangeness(const Group& group, const SocketOnPort& socket) {
  const GroupKey& key = group.key;
  const bool same_address = socket.family == key.family && socket.address == key.address;
  if (same_address && socket.uid == key.uid)
    return "in the kernel's group but no member: it escaped the shim, or bound while no daemon ran";
  if (same_address)
    return "owned by user " + std::to_string(socket.uid) +
           ": a group of its own on the same address";
  const bool dual = key.family == Family::Inet6 && !key.v6only;
  if (is_any(key.address) && !is_any(socket.address) && (socket.family == key.family || dual))
    return "bound to a more specific address: it takes what is sent there";
  return std::nullopt;
}

}  // namespace subset
