// SPDX-License-Identifier: MIT
#include "shim/settings.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <array>
#include <map>
#include <string>

#include <doctest/doctest.h>

#include "protocol/message.h"

using namespace subset;
using namespace subset::shim;

namespace {

using Environment = std::map<std::string, std::string>;

const char* look_up(void* context, const char* name) {
  const auto& environment = *static_cast<Environment*>(context);
  const auto found = environment.find(name);
  return found == environment.end() ? nullptr : found->second.c_str();
}

struct Outcome {
  Settings settings;
  std::string refused;  // the variable
  std::string expected;
};

Outcome read(Environment environment) {
  Outcome outcome;
  const Refusal refusal = read_settings(look_up, &environment, outcome.settings);
  if (refusal.variable) {
    CHECK(environment.at(refusal.variable) == std::string(refusal.value));
    outcome.refused = refusal.variable;
    outcome.expected = refusal.expected;
  }
  return outcome;
}

void check_refused(const char* variable, std::initializer_list<const char*> values) {
  for (const char* value : values) {
    CAPTURE(value);
    CHECK(read({{variable, value}}).refused == variable);
  }
}

bool matched(const Settings& settings, const std::string& protocol, const char* address,
             uint16_t port) {
  std::array<uint8_t, 16> bytes{};
  const uint8_t family = strchr(address, ':') ? AF_INET6 : AF_INET;
  REQUIRE(inet_pton(family, address, bytes.data()) == 1);
  return matches(settings, protocol == "udp" ? IPPROTO_UDP : IPPROTO_TCP, family, bytes.data(),
                 port);
}

}  // namespace

TEST_CASE("an empty environment gives the documented defaults") {
  const auto [settings, refused, expected] = read({});
  CHECK(refused.empty());
  CHECK_FALSE(settings.given);
  CHECK(settings.mode == Mode::Hash);
  CHECK_FALSE(settings.mode_given);
  CHECK(settings.vacancy == Vacancy::Spread);
  CHECK(settings.conflict == Conflict::Takeover);
  CHECK(settings.weight == 100);
  CHECK(settings.spread == 0);
  CHECK_FALSE(settings.pin);
  CHECK(settings.fallback == Fallback::Kernel);
  CHECK(settings.log == LogLevel::Warn);
  CHECK(settings.rule_count == 0);
  CHECK(settings.lineage == 0);
  CHECK(std::string(settings.socket_path) == protocol::kDefaultSocketPath);
}

TEST_CASE("SUBSET") {
  Settings settings = read({{"SUBSET", "3/8"}}).settings;
  CHECK(settings.given);
  CHECK_FALSE(settings.elastic);
  CHECK(settings.total == 8);
  CHECK(settings.instance == 3);

  settings = read({{"SUBSET", "auto/8"}}).settings;
  CHECK(settings.total == 8);
  CHECK(settings.instance == kAnyInstance);

  settings = read({{"SUBSET", "auto"}}).settings;
  CHECK(settings.elastic);
  CHECK(settings.total == 0);
  CHECK(settings.instance == kAnyInstance);

  CHECK(read({{"SUBSET", "0/1"}}).refused.empty());
  CHECK(read({{"SUBSET", "4095/4096"}}).refused.empty());
  check_refused("SUBSET", {"",
                           "/",
                           "3",
                           "3/",
                           "/8",
                           "8/8",
                           "9/8",
                           "0/0",
                           "0/4097",
                           "auto/",
                           "auto/0",
                           "auto/4097",
                           "AUTO",
                           "auto/8/2",
                           "3/8/1",
                           " 3/8",
                           "3/8 ",
                           "3 /8",
                           "+3/8",
                           "-1/8",
                           "3/+8",
                           "0x3/8",
                           "3/8a",
                           "3,8",
                           "4294967299/8",
                           "0/4294967304",
                           "18446744073709551619/8",
                           "3/99999999999999999999999999"});
}

TEST_CASE("a refused SUBSET is still given, and nothing of it is kept") {
  const auto [settings, refused, expected] = read({{"SUBSET", "9/8"}});
  CHECK(settings.given);
  CHECK(settings.total == 0);
  CHECK(settings.instance == kAnyInstance);
  CHECK(expected == "I/N, auto/N or auto, with I below N and N at most 4096");
}

TEST_CASE("names") {
  for (size_t i = 0; i < kModeCount; ++i)
    CHECK(read({{"SUBSET_MODE", kModeNames[i]}}).settings.mode == static_cast<Mode>(i));
  CHECK(read({{"SUBSET_MODE", "hash"}}).settings.mode_given);
  CHECK(read({{"SUBSET_VACANCY", "hold"}}).settings.vacancy == Vacancy::Hold);
  CHECK(read({{"SUBSET_VACANCY", "spread"}}).settings.vacancy_given);
  CHECK(read({{"SUBSET_CONFLICT", "refuse"}}).settings.conflict == Conflict::Refuse);
  CHECK(read({{"SUBSET_FALLBACK", "fail"}}).settings.fallback == Fallback::Fail);
  CHECK(read({{"SUBSET_LOG", "off"}}).settings.log == LogLevel::Off);
  CHECK(read({{"SUBSET_LOG", "debug"}}).settings.log == LogLevel::Debug);
  check_refused("SUBSET_MODE", {"", "hashes", "Hash", "has", "hash ", "0", "cpu,numa"});
  check_refused("SUBSET_VACANCY", {"", "keep", "hold,spread"});
  check_refused("SUBSET_CONFLICT", {"", "take"});
  check_refused("SUBSET_FALLBACK", {"", "off", "no"});
  check_refused("SUBSET_LOG", {"", "warning", "3", "ERROR"});
}

TEST_CASE("SUBSET_SPREAD is a set") {
  CHECK(read({{"SUBSET_SPREAD", "off"}}).settings.spread == 0);
  CHECK(read({{"SUBSET_SPREAD", "fork"}}).settings.spread == kSpreadFork);
  CHECK(read({{"SUBSET_SPREAD", "dup,fork"}}).settings.spread == (kSpreadFork | kSpreadDup));
  check_refused("SUBSET_SPREAD", {"", ",", "fork,", ",dup", "off,fork", "fork;dup", "thread"});
}

TEST_CASE("SUBSET_WEIGHT and SUBSET_PIN") {
  const Settings settings = read({{"SUBSET_WEIGHT", "1000"}, {"SUBSET_PIN", "1"}}).settings;
  CHECK(settings.weight == 1000);
  CHECK(settings.weight_given);
  CHECK(settings.pin);
  CHECK_FALSE(read({{"SUBSET_PIN", "0"}}).settings.pin);
  CHECK(read({{"SUBSET_WEIGHT", "1"}}).settings.weight == 1);
  check_refused("SUBSET_WEIGHT", {"", "0", "1001", "-1", "1.5", "10 ", "4294967396", "ten"});
  check_refused("SUBSET_PIN", {"", "2", "yes", "true", "-1"});
}

TEST_CASE("SUBSET_SOCKET fits into a sockaddr_un") {
  const std::string longest(107, 'a');
  CHECK(std::string(read({{"SUBSET_SOCKET", longest}}).settings.socket_path) == longest);
  const std::string too_long(108, 'a');
  check_refused("SUBSET_SOCKET", {"", too_long.c_str()});
  CHECK(std::string(read({{"SUBSET_SOCKET", ""}}).settings.socket_path) ==
        protocol::kDefaultSocketPath);
}

TEST_CASE("SUBSET_LINEAGE") {
  CHECK(read({{"SUBSET_LINEAGE", "0123456789abcdef"}}).settings.lineage == 0x0123456789abcdef);
  check_refused("SUBSET_LINEAGE", {"", "0000000000000000", "0123456789abcde", "0123456789abcdef0",
                                   "0123456789ABCDEF", "0x23456789abcdef", "0123456789abcdeg"});
}

TEST_CASE("the first refusal is reported, and the log level is right all the same") {
  const auto [settings, refused, expected] =
      read({{"SUBSET", "x"}, {"SUBSET_MODE", "y"}, {"SUBSET_WEIGHT", "7"}, {"SUBSET_LOG", "off"}});
  CHECK(refused == "SUBSET");
  CHECK(settings.weight == 7);
  CHECK(settings.mode == Mode::Hash);
  CHECK(settings.log == LogLevel::Off);
}

TEST_CASE("SUBSET_MATCH: what is refused") {
  check_refused("SUBSET_MATCH", {"",
                                 ",",
                                 "udp,",
                                 ",udp",
                                 "sctp",
                                 "UDP",
                                 "udp ",
                                 "udp:",
                                 "udp:0",
                                 "udp:65536",
                                 "udp:-53",
                                 "udp:53-",
                                 "udp:53-52",
                                 "udp:53-54-",
                                 "udp:0-53",
                                 "udp: 53",
                                 "udp:a",
                                 "udp:1.2.3:53",
                                 "udp:::1:53",
                                 "udp:[::1]",
                                 "udp:[::1]53",
                                 "udp:[]:53",
                                 "udp:[::1:53",
                                 "udp:::1]:53",
                                 "udp:127.0.0.1",
                                 "udp:127.0.0.1:",
                                 "udp:127.0.0.1:0",
                                 "udp:[127.0.0.1]:53",
                                 "udp:[fe80::1%lo]:53",
                                 "udp:host:53",
                                 "udp:01.2.3.4:53",
                                 "53",
                                 ":53",
                                 "udp53"});
  std::string many = "udp";
  for (size_t i = 1; i < kMaxRules; ++i) many += ",tcp";
  CHECK(read({{"SUBSET_MATCH", many}}).settings.rule_count == kMaxRules);
  CHECK(read({{"SUBSET_MATCH", many + ",tcp"}}).refused == "SUBSET_MATCH");
  CHECK(read({{"SUBSET_MATCH", many + ",tcp"}}).settings.rule_count == 0);
}

TEST_CASE("without SUBSET_MATCH every UDP or TCP bind to a fixed port matches") {
  const Settings settings = read({}).settings;
  CHECK(matched(settings, "udp", "0.0.0.0", 53));
  CHECK(matched(settings, "tcp", "::1", 65535));
  CHECK_FALSE(matched(settings, "udp", "0.0.0.0", 0));
}

TEST_CASE("SUBSET_MATCH: protocol, port, range and address") {
  const Settings settings =
      read({{"SUBSET_MATCH", "udp:53,tcp:8000-8100,udp:[::1]:5353,tcp:127.0.0.1:80-81"}}).settings;
  REQUIRE(settings.rule_count == 4);
  CHECK(matched(settings, "udp", "10.0.0.1", 53));
  CHECK(matched(settings, "udp", "::", 53));
  CHECK_FALSE(matched(settings, "tcp", "10.0.0.1", 53));
  CHECK(matched(settings, "tcp", "::", 8000));
  CHECK(matched(settings, "tcp", "0.0.0.0", 8100));
  CHECK_FALSE(matched(settings, "tcp", "0.0.0.0", 7999));
  CHECK_FALSE(matched(settings, "tcp", "0.0.0.0", 8101));
  CHECK(matched(settings, "udp", "::1", 5353));
  CHECK_FALSE(matched(settings, "udp", "::2", 5353));
  CHECK_FALSE(matched(settings, "udp", "127.0.0.1", 5353));
  CHECK(matched(settings, "tcp", "127.0.0.1", 81));
  CHECK_FALSE(matched(settings, "tcp", "0.0.0.0", 80));
}

TEST_CASE("an IPv4-mapped address is an IPv6 one") {
  const Settings v4 = read({{"SUBSET_MATCH", "udp:127.0.0.1:53"}}).settings;
  const Settings v6 = read({{"SUBSET_MATCH", "udp:[::ffff:127.0.0.1]:53"}}).settings;
  CHECK_FALSE(matched(v4, "udp", "::ffff:127.0.0.1", 53));
  CHECK(matched(v6, "udp", "::ffff:127.0.0.1", 53));
  CHECK_FALSE(matched(v6, "udp", "127.0.0.1", 53));
}
