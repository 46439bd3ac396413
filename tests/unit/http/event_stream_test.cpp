// SPDX-License-Identifier: MIT
#include "daemon/http/event_stream.h"

#include <doctest/doctest.h>

namespace subset::http {
namespace {

using Clock = EventStream::Clock;

struct World {
  observe::RecentEvents events{"7", 4};
  Clock::time_point time{};

  EventStream stream(uint64_t next) {
    return {events, next, [this] { return time; }};
  }
};

TEST_CASE("a client hears when to come back, and then each event with its id") {
  World world;
  EventStream stream = world.stream(1);
  CHECK(stream.next() == "retry: 1000\n\n");
  CHECK(stream.next() == "");
  world.events.add(R"({"event":"joined"})");
  world.events.add(R"({"event":"left"})");
  CHECK(stream.next() ==
        "id: 7-1\ndata: {\"event\":\"joined\"}\n\nid: 7-2\ndata: {\"event\":\"left\"}\n\n");
  CHECK(stream.next() == "");
}

TEST_CASE("silence is broken now and then") {
  World world;
  EventStream stream = world.stream(1);
  (void)stream.next();
  world.time += EventStream::kKeepAlive - std::chrono::milliseconds(1);
  CHECK(stream.next() == "");
  world.time += std::chrono::milliseconds(1);
  CHECK(stream.next() == ":\n\n");
  CHECK(stream.next() == "");
}

TEST_CASE("who falls behind what is kept is cut off") {
  World world;
  EventStream stream = world.stream(1);
  (void)stream.next();
  for (int i = 0; i < 4; i++) world.events.add("{}");
  CHECK(stream.next() != std::nullopt);
  for (int i = 0; i < 5; i++) world.events.add("{}");
  CHECK(stream.next() == std::nullopt);
}

TEST_CASE("who comes back goes on where it was, as far as that is known") {
  World world;
  observe::RecentEvents& events = world.events;
  CHECK(events.first_after("7-0") == 1);
  for (int i = 0; i < 6; i++) events.add("{}");  // 3 to 6 are kept
  CHECK(events.first_after("7-4") == 5);
  CHECK(events.first_after("7-6") == 7);
  CHECK(events.first_after("7-1") == 3);
  // Of another daemon, from the future, or nonsense: all that there is.
  for (const char* id : {"6-4", "7-7", "7-", "7-x", "7-5x", "", "-", "4", "7-99999999999999999999"})
    CHECK_MESSAGE(events.first_after(id) == 3, id);
}

}  // namespace
}  // namespace subset::http
