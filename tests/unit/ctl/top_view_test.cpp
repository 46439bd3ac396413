// SPDX-License-Identifier: MIT
#include "ctl/top_view.h"

#include <algorithm>

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

constexpr char kBefore[] = R"({"groups":[
 {"id":"udp/127.0.0.1:53","protocol":"udp","mode":"hash","total":3,"generation":1,"imbalance":1.5,
  "selections":{"home":0,"alternative":0,"kernel":0,"refused":0},"members":[
   {"instance":0,"member":0,"state":"active","cookie":1,"selected":0,"drops":0},
   {"instance":1,"member":0,"state":"active","cookie":2,"selected":0,"drops":0},
   {"instance":2,"member":0,"state":"draining","cookie":3,"selected":0,"drops":0}]}]})";
constexpr char kNow[] = R"({"groups":[
 {"id":"udp/127.0.0.1:53","protocol":"udp","mode":"hash","total":3,"generation":1,"imbalance":1.5,
  "selections":{"home":1000,"alternative":0,"kernel":0,"refused":0},
  "strangers":[{"pid":9,"command":"odd","cookie":9,"reason":"not in the map"}],"members":[
   {"instance":0,"member":0,"state":"active","pid":11,"command":"dns","cpus":"0","cookie":1,
    "selected":100,"drops":0,"queue_bytes":0,"queue_limit_bytes":1000,"since":"2026-01-01T00:00:00Z"},
   {"instance":1,"member":0,"state":"active","pid":12,"command":"dns","cpus":"1","cookie":2,
    "selected":900,"drops":20,"queue_bytes":900,"queue_limit_bytes":1000,"since":"2026-01-01T00:30:00Z"},
   {"instance":2,"member":0,"state":"draining","pid":13,"command":"dns","cpus":"1","cookie":3,
    "selected":0,"drops":0,"queue_bytes":500,"queue_limit_bytes":1000,"since":"2026-01-01T00:59:00Z"}]}]})";

TopInput input() {
  auto before = parse_status(kBefore);
  auto now = parse_status(kNow);
  REQUIRE(before);
  REQUIRE(now);
  return {.groups = *now,
          .rates = Rates({.at_seconds = 0, .groups = *before}, 10),
          .now = 1767229200,  // 2026-01-01T01:00:00Z
          .trouble = {}};
}

std::string text_of(const std::vector<Cell>& line) {
  std::string text;
  for (const Cell& cell : line) text += cell.text;
  return text;
}

std::vector<std::string> texts(const TopInput& input, TopState& state,
                               TerminalSize size = {.columns = 160, .rows = 12}) {
  std::vector<std::string> result;
  for (const auto& line : render_top(input, state, size)) result.push_back(text_of(line));
  return result;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The instances from top to bottom.
std::string order(TopState& state) {
  std::string instances;
  for (const std::string& line : texts(input(), state))
    if (auto found = line.find("/3  "); found != std::string::npos) instances += line[found - 1];
  return instances;
}

Key letter(char c) {
  return static_cast<Key>(c);
}

}  // namespace

TEST_CASE("members, their rates, and what is wrong") {
  TopState state;
  auto lines = texts(input(), state);
  REQUIRE(lines.size() == 12);
  CHECK(contains(lines[0], "1 group  3 members  100/s  drops 2.0/s  strangers 1  by name"));
  CHECK(lines[1] == "stranger on udp/127.0.0.1:53: pid 9 (odd): not in the map");
  CHECK(
      lines[2] ==
      "GROUP             INSTANCE  MEMBER  STATE     PID  COMMAND  CPUS  RATE/S  SHARE             "
      "   QUEUE  OPEN  DROPS  DROPS/S  AGE");
  CHECK(
      lines[4] ==
      "udp/127.0.0.1:53       1/3       0  active     12  dns      1         90  90.0%  |||||||||  "
      "900/1000     -     20      2.0  30m");
  CHECK(contains(lines[11], "q end"));
}

TEST_CASE("keys sort, and again the other way round") {
  TopState state;
  CHECK(order(state) == "012");
  CHECK(press(state, letter('r'), 8) == After::GoOn);
  CHECK(order(state) == "102");
  press(state, letter('r'), 8);
  CHECK(order(state) == "201");
  press(state, letter('u'), 8);
  CHECK(order(state) == "120");
  press(state, letter('d'), 8);
  CHECK(order(state) == "102");
  press(state, letter('a'), 8);
  CHECK(order(state) == "210");
  press(state, letter('n'), 8);
  CHECK(order(state) == "012");
}

TEST_CASE("a row for each group") {
  TopState state;
  press(state, letter('g'), 8);
  auto lines = texts(input(), state);
  CHECK(lines[2] ==
        "GROUP             MODE  ACTIVE  GENERATION  RATE/S  IMBALANCE  FULLEST QUEUE  OPEN  "
        "DROPS/S  "
        "STRANGERS");
  CHECK(lines[3] ==
        "udp/127.0.0.1:53  hash     2/3           1     100       1.50            90%     -      "
        "2.0  "
        "        1");
}

TEST_CASE("a narrow terminal keeps what matters, within its width") {
  TopState state;
  auto lines = texts(input(), state, {.columns = 80, .rows = 12});
  for (size_t i = 2; i < 6; i++) CHECK(lines[i].size() <= 80);
  for (const char* title : {"GROUP", "INSTANCE", "STATE", "RATE/S", "QUEUE", "DROPS/S"})
    CHECK(contains(lines[2], title));
  CHECK_FALSE(contains(lines[2], "CPUS"));
}

TEST_CASE("a list that is longer than the screen") {
  TopState state;
  const TerminalSize small{.columns = 160, .rows = 5};  // room for one row
  CHECK(page_rows(small) == 1);
  CHECK(contains(texts(input(), state, small)[3], "0/3"));
  press(state, Key::Down, 1);
  CHECK(contains(texts(input(), state, small)[3], "1/3"));
  press(state, Key::End, 1);
  CHECK(contains(texts(input(), state, small)[3], "2/3"));
  CHECK(state.first == 2);
  press(state, Key::PageUp, 1);
  CHECK(contains(texts(input(), state, small)[3], "1/3"));
  press(state, Key::Home, 1);
  CHECK(state.first == 0);
}

TEST_CASE("every size of a terminal can be drawn on") {
  for (size_t rows = 0; rows < 8; rows++)
    for (size_t columns : {0, 1, 20, 400}) {
      TopState state;
      CHECK(render_top(input(), state, {.columns = columns, .rows = rows}).size() ==
            std::max<size_t>(rows, 1));
    }
}

TEST_CASE("old numbers are said to be old, before all else") {
  TopState state;
  TopInput old = input();
  old.trouble = "as of 7 s ago: no daemon";
  CHECK(texts(old, state)[1] == "as of 7 s ago: no daemon");
}

TEST_CASE("the first look has no rates; no groups is a sentence") {
  TopState state;
  TopInput first = input();
  first.rates = {};
  CHECK(contains(texts(first, state)[0], "-/s"));
  CHECK(texts({}, state)[1].starts_with("no groups"));
}

TEST_CASE("help, and the end") {
  TopState state;
  press(state, letter('?'), 8);
  CHECK(contains(texts(input(), state)[2], "sort by name"));
  press(state, Key::Escape, 8);
  CHECK(contains(texts(input(), state)[2], "GROUP"));
  CHECK(press(state, Key::None, 8) == After::GoOn);
  CHECK(press(state, letter('q'), 8) == After::Quit);
}
