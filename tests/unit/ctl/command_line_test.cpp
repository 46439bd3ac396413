// SPDX-License-Identifier: MIT
#include "ctl/command_line.h"

#include <algorithm>
#include <sstream>

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

using Words = std::vector<std::string>;

Words split(const std::string& line) {
  std::istringstream stream(line);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

template <typename T>
T parsed(const std::string& line) {
  Command command = parse_command_line(split(line));
  if (const auto* saying = std::get_if<Saying>(&command)) FAIL(saying->text);
  return std::get<T>(command);
}

Saying said(const std::string& line) {
  Command command = parse_command_line(split(line));
  REQUIRE(std::holds_alternative<Saying>(command));
  return std::get<Saying>(command);
}

}  // namespace

TEST_CASE("run: what follows the command's name is the command's") {
  auto run = parsed<RunCommand>("run -n 4 --mode cpu --pin server --pin -n 3 --help");
  CHECK(run.copies == 4);
  CHECK(run.steering.mode == "cpu");
  CHECK(run.steering.pin == "1");
  CHECK_FALSE(run.restart);
  CHECK(run.command == Words{"server", "--pin", "-n", "3", "--help"});
}

TEST_CASE("run: -- ends our options, the first time") {
  CHECK(parsed<RunCommand>("run -n 1 --restart --force -- -odd -- x").command ==
        Words{"-odd", "--", "x"});
  CHECK(parsed<RunCommand>("run -n 1 sh -c -- x").command == Words{"sh", "-c", "--", "x"});
  CHECK(parsed<RunCommand>("run -n 1 -- run status").command == Words{"run", "status"});
}

TEST_CASE("exec takes a share, then a command") {
  auto command = parsed<ExecCommand>("exec auto/8 --weight 7 --socket /s -- server -d");
  CHECK(command.share == "auto/8");
  CHECK(command.steering.weight == "7");
  CHECK(command.steering.socket == "/s");
  CHECK(command.command == Words{"server", "-d"});
  CHECK(parsed<ExecCommand>("exec 3/8 server -d").command == Words{"server", "-d"});
  CHECK(parsed<ExecCommand>("exec --mode source auto server").steering.mode == "source");
}

TEST_CASE("the commands that read") {
  CHECK_FALSE(parsed<StatusCommand>("status").group);
  auto status = parsed<StatusCommand>("status udp --json --socket /s");
  CHECK(status.group == "udp");
  CHECK(status.json);
  CHECK(status.socket == "/s");
  auto top =
      parsed<TopCommand>("top udp --json --interval 0.5 --samples 3 --sort rate --socket /s");
  CHECK(top.group == "udp");
  CHECK(top.json);
  CHECK(top.interval_seconds == 0.5);
  CHECK(top.samples == 3);
  CHECK(top.sort == SortKey::Rate);
  CHECK(top.socket == "/s");
  CHECK(parsed<TopCommand>("top").interval_seconds == 1);
  auto events = parsed<EventsCommand>("events --follow --json udp");
  CHECK(events.json);
  CHECK(events.group == "udp");
  CHECK_FALSE(parsed<EventsCommand>("events").json);
  CHECK(parsed<CheckCommand>("check --json").json);
}

TEST_CASE("the commands that change") {
  using subset::protocol::Verb;
  auto drain = parsed<ChangeCommand>("drain udp/1.1.1.1:53 3");
  CHECK(drain.verb == Verb::Drain);
  CHECK(drain.group == "udp/1.1.1.1:53");
  CHECK(drain.instance == 3);
  CHECK(parsed<ChangeCommand>("resume g all").instance == subset::protocol::Change::kAll);
  CHECK(parsed<ChangeCommand>("weight g 0 1000").value == 1000);
  CHECK(parsed<ChangeCommand>("mode g least").value == 5);
  CHECK(parsed<ChangeCommand>("mode g least").instance == subset::protocol::Change::kAll);
  CHECK(parsed<ChangeCommand>("activate g").verb == Verb::Activate);
  CHECK(parsed<ChangeCommand>("abandon g --socket /s").socket == "/s");
  auto release = parsed<ChangeCommand>("release udp 3");
  CHECK(release.verb == Verb::Release);
  CHECK(release.instance == 3);
  CHECK(parsed<ChangeCommand>("release udp all").instance == subset::protocol::Change::kAll);
}

TEST_CASE("bad input is one line that says what to do, and status 2") {
  for (const char* line : {"",
                           "bogus",
                           "topp",
                           "--bogus",
                           "run",
                           "run -n 4",
                           "run -n 4 --",
                           "run -n",
                           "run server",
                           "run -n 0 s",
                           "run -n 4097 s",
                           "run -n -1 s",
                           "run -n 1x s",
                           "run -n 2 --mode fast s",
                           "run -n 2 --weight 0 s",
                           "run -n 2 --spread sideways s",
                           "run -n 2 --match sctp s",
                           "run -n 2 --vacancy maybe s",
                           "run -n 2 --conflict maybe s",
                           "run -n 2 --fallback maybe s",
                           "run --mod cpu -n 2 s",
                           "run -n 2 --no-such-option s",
                           "exec",
                           "exec 3/8",
                           "exec 8/8 s",
                           "exec 3 s",
                           "exec auto/0 s",
                           "status a b",
                           "status --bogus",
                           "run -n 2 --http 9753 -- x",
                           "run -n 2 --http localhost:9753 -- x",
                           "drain",
                           "drain g",
                           "drain g x",
                           "drain g -1",
                           "drain g 4096",
                           "drain g 1 2",
                           "weight g 1",
                           "weight g 1 0",
                           "weight g 1 1001",
                           "weight g 1 x",
                           "mode g",
                           "mode g fast",
                           "activate",
                           "top a b",
                           "top --interval 0",
                           "top --interval 1s",
                           "top --interval nan",
                           "top --samples 0",
                           "top --sort luck",
                           "events a b",
                           "check x"}) {
    CAPTURE(line);
    Saying saying = said(line);
    CAPTURE(saying.text);
    CHECK(saying.status == 2);
    CHECK(std::count(saying.text.begin(), saying.text.end(), '\n') == 1);
    CHECK(saying.text.ends_with(" --help)\n"));
    CHECK(saying.text.starts_with("subset"));
  }
}

TEST_CASE("an unknown option is named") {
  CHECK(said("run --mod cpu -n 2 s").text.find("--mod") != std::string::npos);
  CHECK(said("run -n 2 --mode fast s").text.starts_with("subset run: --mode fast: expected "));
}

TEST_CASE("an unknown command is named, and what was probably meant") {
  CHECK(said("start").text == "subset: unknown command 'start' (see subset --help)\n");
  CHECK(said("topp udp").text ==
        "subset: unknown command 'topp'; is 'top' meant? (see subset --help)\n");
  CHECK(said("statsu --json").text.find("is 'status' meant?") != std::string::npos);
}

TEST_CASE("a group's name has an end") {
  CHECK(said("drain " + std::string(200, 'x') + " 1").status == 2);
  CHECK(parsed<ChangeCommand>("drain " + std::string(199, 'x') + " 1").group.size() == 199);
}

TEST_CASE("help and version") {
  CHECK(said("--version").text.starts_with("subset "));
  CHECK(said("--version").status == 0);
  Saying help = said("--help");
  CHECK(help.status == 0);
  for (const char* name : {"run", "exec", "status", "top", "events", "check", "drain", "resume",
                           "weight", "mode", "activate", "abandon", "release"}) {
    CAPTURE(name);
    CHECK(help.text.find(std::string("  ") + name) != std::string::npos);
    Saying own = said(std::string(name) + " --help");
    CHECK(own.status == 0);
    CHECK(own.text.find(name) != std::string::npos);
  }
  CHECK(said("run --help").text.find("Usage: subset run -n N [OPTIONS] [--] COMMAND") !=
        std::string::npos);
}
