// SPDX-License-Identifier: MIT
#include "daemon/config/config.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <doctest/doctest.h>

#include "daemon/config/suggest.h"

using namespace subset;

namespace {

// "3: ...\n5: ...\n"
std::string complaints_of(const std::string& text) {
  const auto parsed = parse_config(text);
  if (parsed) return "";
  std::string all;
  for (const Complaint& complaint : parsed.error())
    all += std::to_string(complaint.line) + ": " + complaint.text + "\n";
  return all;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("nothing is the defaults") {
  const auto config = parse_config("");
  REQUIRE(config);
  CHECK(config->socket_path == "/run/subset/subsetd.sock");
  CHECK(config->socket_mode == 0666);
  CHECK(config->http_listen == "127.0.0.1:9753");
  CHECK(config->hold.time == std::chrono::seconds(30));
  CHECK(config->linger == std::chrono::seconds(30));
  CHECK(config->takeover_wait == std::chrono::seconds(1));
}

TEST_CASE("every key arrives where it belongs") {
  const auto config = parse_config(R"(
[control]
socket = "/run/other.sock"
group = "www-data"
mode = "0660"
[http]
listen = "[::1]:80"
[pins]
dir = "/sys/fs/bpf/other"
[log]
level = "debug"
[quotas]
groups = 1
members = 2
instances = 3
held_sockets = 0
connections = 5
requests_per_second = 6
burst = 7
[limits]
groups = 11
members = 12
instances = 13
held_sockets = 14
connections = 15
idle_seconds = 16
[groups]
linger_seconds = 0
takeover_wait_milliseconds = 23
[hold]
seconds = 21
receive_buffer_bytes = 65536
)");
  REQUIRE(config);
  CHECK(config->socket_path == "/run/other.sock");
  CHECK(config->socket_group == "www-data");
  CHECK(config->socket_mode == 0660);
  CHECK(config->http_listen == "[::1]:80");
  CHECK(config->pin_dir == "/sys/fs/bpf/other");
  CHECK(config->log_level == "debug");
  CHECK(config->quotas.groups_per_user == 1);
  CHECK(config->quotas.members_per_user == 2);
  CHECK(config->quotas.instances_per_user == 3);
  CHECK(config->quotas.held_sockets_per_user == 0);
  CHECK(config->limits.user.connections == 5);
  CHECK(config->limits.user.requests_per_second == 6);
  CHECK(config->limits.user.burst == 7);
  CHECK(config->quotas.groups == 11);
  CHECK(config->quotas.members == 12);
  CHECK(config->quotas.instances == 13);
  CHECK(config->quotas.held_sockets == 14);
  CHECK(config->limits.connections == 15);
  CHECK(config->limits.idle == std::chrono::seconds(16));
  CHECK(config->linger == std::chrono::seconds(0));
  CHECK(config->takeover_wait == std::chrono::milliseconds(23));
  CHECK(config->hold.time == std::chrono::seconds(21));
  CHECK(config->hold.receive_buffer_bytes == 65536);
}

// It is what an administrator copies, and what says what the defaults are.
TEST_CASE("the example is right, and says the defaults") {
  const char* path = std::getenv("SUBSET_EXAMPLE");
  REQUIRE(path);
  std::ifstream file(path);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  const auto example = parse_config(text.str());
  REQUIRE(example);
  const Config defaults;
  CHECK(example->socket_path == defaults.socket_path);
  CHECK(example->socket_group == defaults.socket_group);
  CHECK(example->socket_mode == defaults.socket_mode);
  CHECK(example->http_listen == defaults.http_listen);
  CHECK(example->pin_dir == defaults.pin_dir);
  CHECK(example->log_level == defaults.log_level);
  CHECK(example->quotas == defaults.quotas);
  CHECK(example->limits.user == defaults.limits.user);
  CHECK(example->limits.connections == defaults.limits.connections);
  CHECK(example->limits.idle == defaults.limits.idle);
  CHECK(example->hold == defaults.hold);
  CHECK(example->linger == defaults.linger);
  CHECK(example->takeover_wait == defaults.takeover_wait);
}

TEST_CASE("all that is wrong is said, in order, with lines") {
  CHECK(complaints_of(R"([quotas]
groups = 0
members = "many"
[control]
mode = "0668"
sokcet = "/run/x"
[kontrol]
a = 1
)") == "2: quotas.groups is 0 (1 to 4294967295 is possible)\n"
       "3: quotas.members wants a whole number; this is a string\n"
       "5: control.mode is '0668'; octal digits up to 0777 are wanted, such as \"0660\"\n"
       "6: [control] has no key sokcet; is socket meant?\n"
       "7: there is no section [kontrol]; is [control] meant?\n");
}

TEST_CASE("where no word is near, those that are possible are said") {
  CHECK(complaints_of("[log]\nverbosity = 3\n") ==
        "2: [log] has no key verbosity; its keys are level\n");
  CHECK(contains(complaints_of("[network]\n"), "there are control, http, pins, log"));
}

TEST_CASE("a key in the wrong section is sent to its own") {
  CHECK(complaints_of("[limits]\nburst = 3\n") == "2: [limits] has no key burst; [quotas] has\n");
  CHECK(complaints_of("socket = \"/x\"\n") ==
        "1: there is no section [socket]; socket is a key of [control]\n");
}

TEST_CASE("what is no TOML is said with its line") {
  CHECK(contains(complaints_of("[control]\nmode = 0660\n"), "2: "));
  CHECK(contains(complaints_of("[control\n"), "1: "));
  CHECK(contains(complaints_of("[log]\nlevel = \"info\"\nlevel = \"warn\"\n"), "3: "));
}

TEST_CASE("characters beyond ASCII are for comments") {
  CHECK(complaints_of("# größer\n[quotas] # für alle\ngroups = 3\n").empty());
  CHECK(complaints_of("[control]\nsocket = \"/run/#ü\"\nsöcket = 1\n") ==
        "2: only comments may have characters beyond ASCII\n"
        "3: only comments may have characters beyond ASCII\n");
}

// Once an assertion of the parser.
TEST_CASE("a comment in the place of a section's name is an error like others") {
  CHECK(contains(complaints_of("[[# x\n"), "1: "));
}

TEST_CASE("a section is a table") {
  CHECK(complaints_of("control = 3\n") == "1: control is a section, [control], and no value\n");
  CHECK(contains(complaints_of("[[control]]\nmode = \"0660\"\n"), "is a section"));
}

TEST_CASE("values have to be of their kind") {
  for (const char* line : {"[control]\nsocket = 3",
                           "[control]\nsocket = \"relative\"",
                           "[control]\nsocket = \"\"",
                           "[control]\nsocket = \"/a\\nb\"",
                           "[control]\nmode = 432",
                           "[control]\nmode = \"\"",
                           "[control]\nmode = \"-1\"",
                           "[control]\nmode = \"01777\"",
                           "[control]\ngroup = \"a:b\"",
                           "[http]\nlisten = \"9753\"",
                           "[http]\nlisten = \"localhost:9753\"",
                           "[http]\nlisten = \"::1:9753\"",
                           "[http]\nlisten = \"127.0.0.1:65536\"",
                           "[http]\nlisten = \"127.0.0.1:80x\"",
                           "[http]\nlisten = \"127.0.0.1:\"",
                           "[http]\nlisten = \"\"",
                           "[http]\nlisten = false",
                           "[log]\nlevel = \"loud\"",
                           "[hold]\nseconds = 1.5",
                           "[hold]\nseconds = -1",
                           "[quotas]\ngroups = 4294967296",
                           "[quotas]\ngroups = [1]"}) {
    CAPTURE(line);
    CHECK(contains(complaints_of(line), "2: "));
  }
}

TEST_CASE("a path that the kernel cannot bind is too long") {
  CHECK(complaints_of("[control]\nsocket = \"/" + std::string(106, 'x') + "\"\n").empty());
  CHECK(!complaints_of("[control]\nsocket = \"/" + std::string(107, 'x') + "\"\n").empty());
}

TEST_CASE("one value is overridden") {
  Config config;
  CHECK(set_value(config, "http", "listen", "off"));
  CHECK(config.http_listen == "off");
  const auto refused = set_value(config, "log", "level", "loud");
  REQUIRE(!refused);
  CHECK(refused.error().message() == "is 'loud'; it may be off, error, warn, info or debug");
  CHECK(config.log_level == "info");
}

TEST_CASE("the nearest word") {
  const std::string_view words[] = {"socket", "group", "mode"};
  CHECK(nearest_word("sockets", words) == "socket");
  CHECK(nearest_word("moed", words) == std::nullopt);  // two changes are half of it
  CHECK(nearest_word("mod", words) == "mode");
  CHECK(nearest_word("", words) == std::nullopt);
  CHECK(nearest_word(std::string(100000, 's'), words) == std::nullopt);
}
