// SPDX-License-Identifier: MIT
// From the bytes of one packet to a message that keeps to protocol/message.h in every field. Pure:
// whoever has it need not look at sizes, ranges or terminators again.
#pragma once

#include <cstddef>
#include <span>

#include "daemon/base/result.h"
#include "daemon/control/handler.h"

namespace subset::control {

// `descriptors`: how many came with the packet. Errors: EPROTO for what is not of this protocol,
// EINVAL for a field of it with a value out of range; the context is one line for the peer.
Result<Message> decode(std::span<const std::byte> packet, size_t descriptors);

}  // namespace subset::control
