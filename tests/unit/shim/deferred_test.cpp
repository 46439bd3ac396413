// SPDX-License-Identifier: MIT
#include "shim/deferred.h"

#include <memory>

#include <doctest/doctest.h>

using namespace subset::shim;

namespace {

// Static storage in the shim; too large for a stack.
std::unique_ptr<DeferredSockets> make() {
  return std::make_unique<DeferredSockets>();
}

}  // namespace

TEST_CASE("a listener is deferred until it is dropped") {
  const auto listeners = make();
  Deferred deferred;
  CHECK_FALSE(listeners->any());
  CHECK_FALSE(listeners->has(3));
  REQUIRE(listeners->put(3, {.cookie = 7, .generation = 1, .backlog = 511}));
  CHECK(listeners->any());
  CHECK(listeners->has(3));
  CHECK_FALSE(listeners->has(4));
  REQUIRE(listeners->find(3, deferred));
  CHECK(deferred.cookie == 7);
  CHECK(deferred.generation == 1);
  CHECK(deferred.backlog == 511);

  REQUIRE(listeners->put(3, {.cookie = 8, .generation = 1, .backlog = 0}));  // the number's next
  listeners->drop(3);
  listeners->drop(3);
  CHECK_FALSE(listeners->any());
  CHECK_FALSE(listeners->find(3, deferred));
}

TEST_CASE("one alone acts on it") {
  const auto listeners = make();
  CHECK_FALSE(listeners->claim(3));
  listeners->put(3, {.cookie = 7});
  CHECK(listeners->claim(3));
  CHECK_FALSE(listeners->claim(3));
  listeners->release(3);
  CHECK(listeners->claim(3));
  listeners->drop(3);
  listeners->put(3, {.cookie = 9});
  CHECK(listeners->claim(3));
}

TEST_CASE("a number beyond the table is not deferred") {
  const auto listeners = make();
  CHECK_FALSE(listeners->put(-1, {.cookie = 7}));
  CHECK_FALSE(listeners->put(DeferredSockets::kNumbers, {.cookie = 7}));
  CHECK_FALSE(listeners->any());
  CHECK_FALSE(listeners->has(-1));
  CHECK_FALSE(listeners->has(DeferredSockets::kNumbers));
  CHECK(listeners->put(DeferredSockets::kNumbers - 1, {.cookie = 7}));
}
