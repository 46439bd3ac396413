// SPDX-License-Identifier: MIT
#include "shim/known.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using namespace subset::shim;

namespace {

// Static storage in the shim; too large for a stack.
std::unique_ptr<KnownSockets> make() {
  return std::make_unique<KnownSockets>();
}

}  // namespace

TEST_CASE("what was put is found, updated and forgotten") {
  const auto sockets = make();
  Known known;
  CHECK_FALSE(sockets->find(7, known));
  sockets->put(7, {.total = 8, .instance = 3, .assigned = 3, .flags = Known::kDeclared});
  REQUIRE(sockets->find(7, known));
  CHECK(known.total == 8);
  CHECK(known.instance == 3);
  CHECK(known.has(Known::kDeclared));
  CHECK_FALSE(known.has(Known::kMember));

  sockets->put(7, {.total = 4, .instance = 1, .assigned = 2, .flags = Known::kMember});
  REQUIRE(sockets->find(7, known));
  CHECK(known.total == 4);
  CHECK(known.assigned == 2);
  CHECK(known.has(Known::kMember));

  sockets->forget(7);
  CHECK_FALSE(sockets->find(7, known));
}

TEST_CASE("cookie 0 is nobody's") {
  const auto sockets = make();
  Known known;
  sockets->put(0, {.total = 1});
  CHECK_FALSE(sockets->find(0, known));
  sockets->forget(0);
}

TEST_CASE("the oldest gives way in a full table") {
  const auto sockets = make();
  Known known;
  for (uint32_t i = 1; i <= KnownSockets::kCapacity; ++i) sockets->put(i, {.total = i});
  for (uint32_t i = 1; i <= KnownSockets::kCapacity; ++i) {
    REQUIRE(sockets->find(i, known));
    REQUIRE(known.total == i);
  }
  sockets->put(9999, {.total = 5});
  CHECK(sockets->find(9999, known));
  CHECK_FALSE(sockets->find(1, known));
  CHECK(sockets->find(2, known));
}

TEST_CASE("threads that put, recycle and read never see another socket's share") {
  const auto sockets = make();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 3000; ++i) {
        const uint32_t cookie = 1 + t + 4 * i;
        Known known;
        sockets->put(cookie, {.total = cookie, .instance = cookie, .assigned = cookie, .flags = 1});
        if (sockets->find(cookie, known) && (known.total != cookie || known.assigned != cookie))
          ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
