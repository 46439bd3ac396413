// SPDX-License-Identifier: MIT
#include "daemon/model/pace.h"

#include <doctest/doctest.h>

namespace subset {
namespace {

using namespace std::chrono_literals;

Group group_of(size_t members) {
  Group group;
  group.total = 4096;
  for (Cookie cookie = 1; cookie <= members; ++cookie) group.members[cookie] = {.cookie = cookie};
  return group;
}

TEST_CASE("newcomers of small groups do not wait") {
  CHECK_FALSE(may_be_put_off(group_of(1), {}));
  CHECK_FALSE(may_be_put_off(group_of(kPacedFrom - 1), {}));
  CHECK(may_be_put_off(group_of(kPacedFrom), {}));
}

TEST_CASE("what is more than one member that is new does not wait") {
  const Group group = group_of(kPacedFrom);
  CHECK_FALSE(may_be_put_off(group, {.known = true}));
  CHECK_FALSE(may_be_put_off(group, {.generation = 2}));  // the last one of it flips
  CHECK_FALSE(may_be_put_off(group, {.displaced = {7}}));
  CHECK_FALSE(may_be_put_off(group, {.vacates = Slot{7}}));
}

TEST_CASE("where packets are refused for want of a newcomer it does not wait") {
  Group group = group_of(kPacedFrom);
  group.vacancy = Vacancy::Refuse;
  CHECK_FALSE(may_be_put_off(group, {}));
}

TEST_CASE("planning for newcomers is a part of the time, and nobody waits for long") {
  CHECK(pause_after(100us) == 400us);
  CHECK(pause_after(1s) == 5ms);
}

}  // namespace
}  // namespace subset
