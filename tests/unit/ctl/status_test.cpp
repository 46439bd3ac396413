// SPDX-License-Identifier: MIT
#include "ctl/status.h"

#include <doctest/doctest.h>

#include "ctl/groups.h"
#include "ctl/table.h"

using namespace subset::ctl;

namespace {

const char kDocument[] = R"({"groups":[
 {"id":"udp/127.0.0.1:5353","protocol":"udp","mode":"hash","total":3,"generation":2,"imbalance":1.5,
  "selections":{"home":10,"alternative":1,"kernel":2,"refused":3},
  "strangers":[{"pid":9,"command":"od\u001bd","cookie":1,"reason":"not in the map"}],
  "members":[
   {"instance":2,"member":0,"state":"draining","pid":null,"command":null,"vacant":true,"weight":100,
    "cpus":"","selected":0,"drops":0,"since":"2026-01-01T00:00:00Z"},
   {"instance":0,"member":0,"state":"active","pid":123,"command":"dnsmasq","weight":100,
    "cpus":"0-1","selected":6,"queue_bytes":512,"queue_limit_bytes":212992,"drops":4,
    "since":"2026-01-01T00:00:00Z"},
   {"instance":1,"member":0,"state":"active","pid":124,"command":"dnsmasq","weight":100,
    "cpus":"0-1","selected":5,"queue_bytes":0,"queue_limit_bytes":212992,"drops":0,
    "since":"2026-01-01T00:58:20Z"}]},
 {"id":"tcp/[::1]:80","protocol":"tcp","mode":"least","total":1,"generation":1,"imbalance":null,
  "selections":{"home":0,"alternative":0,"kernel":0,"refused":0},
  "foreign":true,"foreign_reason":"somebody else decides",
  "members":[{"instance":0,"member":0,"state":"active","pid":5,"command":"nginx","weight":100,
   "cpus":"0","selected":0,"backlog":3,"backlog_limit":128,"open_connections":17,"drops":0,
   "since":"2026-01-01T00:00:00Z"}]}]})";

constexpr std::time_t kOneOClock = 1767229200;  // 2026-01-01T01:00:00Z

std::vector<GroupView> groups_of(const char* document) {
  auto groups = parse_status(document);
  REQUIRE(groups);
  return *groups;
}

std::string rendered(const char* document, bool colour = false) {
  return render_status(groups_of(document), {.colour = colour, .now = kOneOClock});
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the table") {
  const char expected[] =
      R"(udp/127.0.0.1:5353  hash  2/3 active  generation 2  imbalance 1.50  home 10  alternative 1  kernel 2  refused 3
  INSTANCE  MEMBER  STATE   PID  COMMAND  CPUS  WEIGHT  SELECTED  SHARE     QUEUE  OPEN  DROPS  AGE
       0/3       0  active  123  dnsmasq  0-1      100         6  54.5%  512/208K     -      4   1h
       1/3       0  active  124  dnsmasq  0-1      100         5  45.5%    0/208K     -      0   1m
       2/3       0  vacant    -  -        -        100         0   0.0%         -     -      0    -
  stranger pid 9 (od?d): not in the map

tcp/[::1]:80  least  1/1 active  generation 1  imbalance -  home 0  alternative 0  kernel 0  refused 0
  foreign: somebody else decides; shares are not kept
  INSTANCE  MEMBER  STATE   PID  COMMAND  CPUS  WEIGHT  SELECTED  SHARE  QUEUE  OPEN  DROPS  AGE
       0/1       0  active    5  nginx    0        100         0      -  3/128    17      0   1h
)";
  CHECK(rendered(kDocument) == expected);
}

TEST_CASE("colours are added, and nothing else") {
  std::string coloured = rendered(kDocument, true);
  CHECK(contains(coloured, "\033[32mactive\033[0m"));
  CHECK(contains(coloured, "\033[31mvacant\033[0m"));
  std::string plain;
  for (size_t i = 0; i < coloured.size(); ++i) {
    if (coloured[i] == '\033') {
      i = coloured.find('m', i);
    } else {
      plain += coloured[i];
    }
  }
  CHECK(plain == rendered(kDocument));
}

TEST_CASE("what is missing is shown as unknown") {
  CHECK(contains(rendered(R"({"groups":[{}]})"), "-  -  0/- active"));
  CHECK(
      contains(rendered(R"({"groups":[{"id":7,"members":[{"pid":"x","instance":-1}]}]})"), "-/-"));
  CHECK_NOTHROW(rendered(R"({"groups":[null,3,"x",[]]})"));
  CHECK_NOTHROW(rendered(R"({"groups":[{"members":"x","selections":[]}]})"));
}

TEST_CASE("no groups, and no document") {
  CHECK(rendered(R"({"groups":[]})").starts_with("no groups"));
  for (const char* bad : {"", "{", "[]", "{}", "null", R"({"groups":3})"}) {
    CHECK_FALSE(parse_status(bad));
    CHECK_FALSE(pretty_status(bad, std::nullopt));
  }
}

TEST_CASE("a group is chosen by its id or by a part that only it has") {
  auto groups = groups_of(R"({"groups":[{"id":"udp/1.1.1.1:5"},{"id":"udp/1.1.1.1:53"},
                             {"id":"tcp/1.1.1.1:80"}]})");
  CHECK(choose_group(groups, "udp/1.1.1.1:5") == "udp/1.1.1.1:5");  // though another contains it
  CHECK(choose_group(groups, "tcp") == "tcp/1.1.1.1:80");
  CHECK(contains(choose_group(groups, "udp").error().message(), "udp/1.1.1.1:5, udp/1.1.1.1:53"));
  CHECK(contains(choose_group(groups, "sctp").error().message(), "no group 'sctp'"));
  CHECK(contains(choose_group({}, "udp").error().message(), "no groups at all"));
}

TEST_CASE("the document as it came, indented") {
  auto text = pretty_status(R"({"groups":[{"z":1,"id":"a"},{"id":"b"}],"new":1.5})", std::nullopt);
  REQUIRE(text);
  CHECK(text->find("\"z\"") < text->find("\"id\""));
  CHECK(contains(*text, "1.5"));
  CHECK(text->ends_with("}\n"));
  text = pretty_status(R"({"groups":[{"id":"a"},{"id":"b"}]})", "b");
  CHECK_FALSE(contains(*text, "\"a\""));
  CHECK(contains(*text, "\"b\""));
}

TEST_CASE("no line of a table ends in blanks") {
  std::string table =
      render_table({{"A"}, {"B", true}}, {{"x", ""}, {"long", "1"}, {"y"}}, "", false);
  CHECK(table == "A     B\nx\nlong  1\ny\n");
}

TEST_CASE("a change names its group and is terminated") {
  auto change = change_message({.verb = subset::protocol::Verb::Weight,
                                .group = "part",
                                .instance = 3,
                                .value = 50,
                                .socket = {}},
                               std::string(500, 'x'));
  CHECK(change.instance == 3);
  CHECK(change.value == 50);
  CHECK(change.group[sizeof change.group - 1] == '\0');
  CHECK(change.group[sizeof change.group - 2] == 'x');
}
