// SPDX-License-Identifier: MIT
#include "daemon/control/users.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace subset::control {

Result<void> Users::connect(uid_t uid, Time now) {
  // Root gets in where users of many uids (a user namespace has 65,536) hold all connections.
  if (uid != 0 && connections_ >= limits_.connections) {
    return fail(EAGAIN, "the daemon has too many connections");
  }
  const UserLimits& limits = limits_of(uid);
  auto [found, is_new] = users_.try_emplace(uid, User{0, limits.burst, now});
  if (found->second.connections >= limits.connections) {
    return fail(EAGAIN, "user " + std::to_string(uid) + " has " +
                            std::to_string(limits.connections) + " connections to the daemon");
  }
  ++found->second.connections;
  ++connections_;
  return {};
}

void Users::disconnect(uid_t uid) {
  --users_.at(uid).connections;
  --connections_;
}

void Users::fill(User& user, const UserLimits& limits, Time now) const {
  std::chrono::duration<double> passed = now - user.filled;
  user.tokens = std::min(limits.burst, user.tokens + passed.count() * limits.requests_per_second);
  user.filled = now;
}

Result<void> Users::request(uid_t uid, Time now) {
  const UserLimits& limits = limits_of(uid);
  if (limits.requests_per_second == 0) return {};
  User& user = users_.at(uid);
  fill(user, limits, now);
  if (user.tokens < 1) {
    return fail(EAGAIN, "user " + std::to_string(uid) + " asks the daemon too often");
  }
  user.tokens -= 1;
  return {};
}

void Users::forget(Time now) {
  for (auto entry = users_.begin(); entry != users_.end();) {
    auto& [uid, user] = *entry;
    const UserLimits& limits = limits_of(uid);
    fill(user, limits, now);
    bool nothing_to_know = user.connections == 0 && user.tokens >= limits.burst;
    entry = nothing_to_know ? users_.erase(entry) : std::next(entry);
  }
}

}  // namespace subset::control
