// SPDX-License-Identifier: MIT
// Who has how much of the control socket: connections, and a token bucket of requests, per uid.
// Pure: the time comes from the caller.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <unordered_map>

#include "daemon/base/result.h"
#include "daemon/control/limits.h"

namespace subset::control {

class Users {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Users(const Limits& limits) : limits_(limits) {}

  // One more connection. Errors: EAGAIN, with text for the peer.
  Result<void> connect(uid_t uid, Time now);
  void disconnect(uid_t uid);

  // One more request. Errors: EAGAIN, with text for the peer.
  Result<void> request(uid_t uid, Time now);

  // Forgets those of whom there is nothing to know: no connection, a full bucket.
  void forget(Time now);

  bool empty() const { return users_.empty(); }

 private:
  struct User {
    size_t connections = 0;
    double tokens = 0;
    Time filled;
  };

  const UserLimits& limits_of(uid_t uid) const { return uid == 0 ? limits_.root : limits_.user; }
  void fill(User& user, const UserLimits& limits, Time now) const;

  const Limits limits_;
  size_t connections_ = 0;
  std::unordered_map<uid_t, User> users_;
};

}  // namespace subset::control
