// SPDX-License-Identifier: MIT
#include "daemon/model/hold.h"

#include <doctest/doctest.h>

namespace subset {
namespace {

TEST_CASE("abandoned: nobody but the daemon has it, and that is known") {
  CHECK(is_abandoned(1, 1));
  CHECK_FALSE(is_abandoned(2, 1));
  CHECK(is_abandoned(2, 2));
  CHECK_FALSE(is_abandoned(0, 1));
}

TEST_CASE("what is kept has limits, but not root's") {
  const Quotas quotas{.held_sockets_per_user = 3, .held_sockets = 5};
  CHECK(check_kept(1000, {.of_user = 2, .of_all = 4}, quotas));
  CHECK(check_kept(1000, {.of_user = 3, .of_all = 3}, quotas).error().code == ENOSPC);
  CHECK(check_kept(1000, {.of_user = 0, .of_all = 5}, quotas).error().code == ENOSPC);
  CHECK(check_kept(0, {.of_user = 9, .of_all = 9}, quotas));
}

// A buffer that is full for its new size takes nothing until it has been emptied below it.
TEST_CASE("a raised buffer shrinks when what is queued leaves room in the small one") {
  const ReceiveBuffer raised{.bytes = 16 << 20, .locked = true};
  const ReceiveBuffer wanted{.bytes = 200'000, .locked = false};
  CHECK(next_step(raised, raised, wanted, 10 << 20) == BufferStep::Wait);
  CHECK(next_step(raised, raised, wanted, 100'001) == BufferStep::Wait);
  CHECK(next_step(raised, raised, wanted, 100'000) == BufferStep::Shrink);
  CHECK(next_step(raised, raised, wanted, 0) == BufferStep::Shrink);
}

TEST_CASE("a buffer that the application has set meanwhile is its own") {
  const ReceiveBuffer raised{.bytes = 16 << 20, .locked = true};
  const ReceiveBuffer wanted{.bytes = 200'000, .locked = false};
  CHECK(next_step({.bytes = 300'000, .locked = true}, raised, wanted, 0) == BufferStep::Leave);
}

}  // namespace
}  // namespace subset
