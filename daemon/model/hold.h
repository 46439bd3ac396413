// SPDX-License-Identifier: MIT
// Vacancy `hold`: which sockets are kept, when they are held, and with how much room. Pure.
//
// From its registration on the daemon keeps a duplicate of each member's socket. Where the
// duplicate is all that is left, the process has gone (or has closed the socket): the member is
// held, and what arrives queues in it until somebody binds that instance again, an operator
// releases it, or the time is over.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "daemon/base/result.h"
#include "daemon/model/quotas.h"

namespace subset {

// Sockets of which the daemon has a duplicate, held or not: of a user, and of all users but root.
struct Kept {
  size_t of_user = 0;
  size_t of_all = 0;
};

// May one more be kept? ENOSPC, with text for the user. Each is a descriptor of the daemon.
inline Result<void> check_kept(uint32_t uid, const Kept& kept, const Quotas& quotas) {
  if (uid == 0) return {};
  if (kept.of_user >= quotas.held_sockets_per_user)
    return fail(ENOSPC, "this socket will not be held: user " + std::to_string(uid) + " has " +
                            std::to_string(kept.of_user) + " that may be; the limit is " +
                            std::to_string(quotas.held_sockets_per_user));
  if (kept.of_all >= quotas.held_sockets)
    return fail(ENOSPC, "this socket will not be held: all users have " +
                            std::to_string(kept.of_all) + " that may be; the limit is " +
                            std::to_string(quotas.held_sockets));
  return {};
}

// Has nobody else a descriptor of it? `references` is the count of the open file, 0 where it is not
// known; `own` is how many of them are known whose they are: the daemon's, and its peer's.
constexpr bool is_abandoned(uint32_t references, uint32_t own) {
  return references != 0 && references <= own;
}

// A receive buffer: as SO_RCVBUF gives it back, twice what was asked for; and whether it was asked
// for (SO_BUF_LOCK).
struct ReceiveBuffer {
  uint32_t bytes = 0;
  bool locked = false;
  bool operator==(const ReceiveBuffer&) const = default;
};

// A socket that is no longer held goes back to the buffer that its process wants, but not before
// that would turn datagrams away: a buffer that is smaller than what is queued takes nothing more.
enum class BufferStep : uint8_t {
  Wait,
  Shrink,
  Leave,  // somebody has set another one meanwhile: it is the application's
};

constexpr BufferStep next_step(const ReceiveBuffer& present, const ReceiveBuffer& raised,
                               const ReceiveBuffer& wanted, uint64_t queued_bytes) {
  if (present.bytes != raised.bytes) return BufferStep::Leave;
  return queued_bytes > wanted.bytes / 2 ? BufferStep::Wait : BufferStep::Shrink;
}

}  // namespace subset
