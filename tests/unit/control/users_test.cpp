// SPDX-License-Identifier: MIT
#include "daemon/control/users.h"

#include <cerrno>
#include <chrono>

#include <doctest/doctest.h>

using subset::control::Limits;
using subset::control::Users;
using namespace std::chrono_literals;

namespace {

constexpr uid_t kRoot = 0;
constexpr uid_t kOne = 1000;
constexpr uid_t kOther = 1001;

Limits small_limits() {
  Limits limits;
  limits.user = {.connections = 2, .requests_per_second = 10, .burst = 3};
  limits.root = {.connections = 4, .requests_per_second = 0, .burst = 0};
  limits.connections = 3;
  return limits;
}

// How many of `count` requests are granted.
int granted(Users& users, uid_t uid, Users::Time now, int count) {
  int good = 0;
  for (int i = 0; i < count; ++i) good += users.request(uid, now).has_value() ? 1 : 0;
  return good;
}

}  // namespace

TEST_CASE("connections are counted per user and in all; root gets in beyond the sum") {
  Users users(small_limits());
  Users::Time now{};
  CHECK(users.connect(kOne, now));
  CHECK(users.connect(kOne, now));
  auto third = users.connect(kOne, now);
  REQUIRE_FALSE(third);
  CHECK(third.error().code == EAGAIN);
  CHECK(users.connect(kOther, now));
  CHECK_FALSE(users.connect(kOther, now));
  for (int i = 0; i < 4; ++i) CHECK(users.connect(kRoot, now));
  CHECK_FALSE(users.connect(kRoot, now));
  for (int i = 0; i < 4; ++i) users.disconnect(kRoot);
  users.disconnect(kOne);
  CHECK(users.connect(kOther, now));
}

TEST_CASE("a refused connection counts nothing") {
  Users users(small_limits());
  Users::Time now{};
  CHECK(users.connect(kOne, now));
  CHECK(users.connect(kOne, now));
  for (int i = 0; i < 10; ++i) CHECK_FALSE(users.connect(kOne, now));
  users.disconnect(kOne);
  CHECK(users.connect(kOne, now));
}

TEST_CASE("requests: a burst, then the rate, never more than the burst again") {
  Users users(small_limits());
  Users::Time now{};
  REQUIRE(users.connect(kOne, now));
  CHECK(granted(users, kOne, now, 10) == 3);
  now += 100ms;
  CHECK(granted(users, kOne, now, 10) == 1);
  now += 1h;
  CHECK(granted(users, kOne, now, 10) == 3);
}

TEST_CASE("reconnecting does not fill the bucket") {
  Users users(small_limits());
  Users::Time now{};
  REQUIRE(users.connect(kOne, now));
  CHECK(granted(users, kOne, now, 10) == 3);
  users.disconnect(kOne);
  users.forget(now);
  REQUIRE(users.connect(kOne, now));
  CHECK(granted(users, kOne, now, 10) == 0);
}

TEST_CASE("users have buckets of their own, and root has none") {
  Users users(small_limits());
  Users::Time now{};
  for (uid_t uid : {kOne, kOther, kRoot}) REQUIRE(users.connect(uid, now));
  CHECK(granted(users, kOne, now, 10) == 3);
  CHECK(granted(users, kOther, now, 10) == 3);
  CHECK(granted(users, kRoot, now, 1000) == 1000);
}

TEST_CASE("who has nothing left is forgotten") {
  Users users(small_limits());
  Users::Time now{};
  REQUIRE(users.connect(kOne, now));
  CHECK(granted(users, kOne, now, 1) == 1);
  users.forget(now + 1h);
  CHECK_FALSE(users.empty());
  users.disconnect(kOne);
  CHECK(granted(users, kOne, now + 1h, 1) == 1);
  users.forget(now + 1h);
  CHECK_FALSE(users.empty());
  users.forget(now + 2h);
  CHECK(users.empty());
}
