// SPDX-License-Identifier: MIT
#include "ctl/event_line.h"

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

constexpr char kJoined[] =
    R"({"time":"2026-01-01T00:00:00Z","event":"joined","group":"udp/127.0.0.1:53","instance":2,)"
    R"("pid":7,"command":"dns\u001b[2J","detail":"2/4"})";

}  // namespace

TEST_CASE("an event is one line, whatever is in it") {
  CHECK(event_line(kJoined, false) ==
        "2026-01-01T00:00:00Z  joined        udp/127.0.0.1:53  instance 2  pid 7 (dns?[2J)  2/4");
}

TEST_CASE("what is missing is left out") {
  CHECK(event_line(R"({"time":"T","event":"took over","group":"g"})", false) ==
        "T  took over     g");
  CHECK(event_line(R"({"time":"T","event":"left","group":"g","command":"x","instance":"3"})",
                   false) == "T  left          g  x");
}

TEST_CASE("an alarm is red, an event of a later version has no colour") {
  CHECK(event_line(R"({"event":"stranger"})", true)->find("\033[31mstranger") != std::string::npos);
  CHECK(event_line(R"({"event":"polished"})", true)->find('\033') == std::string::npos);
}

TEST_CASE("what is no event is an error, and stays out of the terminal") {
  for (const char* bad : {"", "[]", "{", "\033[2J"}) {
    auto line = event_line(bad, false);
    REQUIRE_FALSE(line);
    CHECK(line.error().message().find('\033') == std::string::npos);
  }
}

TEST_CASE("an event concerns a part of its group's id") {
  CHECK(event_concerns(kJoined, "udp"));
  CHECK(event_concerns(kJoined, ":53"));
  CHECK_FALSE(event_concerns(kJoined, "tcp"));
  CHECK_FALSE(event_concerns("[]", ""));
}
