// SPDX-License-Identifier: MIT
#include "daemon/model/turns.h"

#include <doctest/doctest.h>

namespace subset {
namespace {

using Serials = std::vector<GroupSerial>;

TEST_CASE("each user has a turn before anybody has the second") {
  const std::vector<WaitingGroup> waiting{{.group = 1, .uid = 1000, .since = 1},
                                          {.group = 2, .uid = 1000, .since = 2},
                                          {.group = 3, .uid = 1000, .since = 3},
                                          {.group = 4, .uid = 1001, .since = 4},
                                          {.group = 5, .uid = 0, .since = 5}};
  CHECK(in_turns(waiting, 1000) == Serials{4, 5, 1, 2, 3});
  CHECK(in_turns(waiting, 999) == Serials{1, 4, 5, 2, 3});
}

// Serials are random numbers: in their order the groups with large ones would never be settled
// while the others are changed again and again.
TEST_CASE("a group that is changed again at once waits for those that waited before") {
  uint64_t changes = 0;
  std::vector<WaitingGroup> waiting{{.group = 30, .since = ++changes},
                                    {.group = 20, .since = ++changes},
                                    {.group = 10, .since = ++changes}};
  Serials settled;
  for (int round = 0; round < 6; ++round) {
    const GroupSerial first = in_turns(waiting, 0).front();
    settled.push_back(first);
    for (WaitingGroup& one : waiting)
      if (one.group == first) one.since = ++changes;
  }
  CHECK(settled == Serials{30, 20, 10, 30, 20, 10});
}

}  // namespace
}  // namespace subset
