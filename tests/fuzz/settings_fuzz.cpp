// SPDX-License-Identifier: MIT
// Lines of NAME=VALUE as the environment: whatever they say, the settings are in range, a refusal
// names a variable that is there, and what a rule covers is what it says.
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <string>

#include "shim/settings.h"

using namespace subset;
using namespace subset::shim;

namespace {

using Environment = std::map<std::string, std::string>;

// A value of the environment holds no NUL, and here no newline.
Environment environment_of(const uint8_t* data, size_t size) {
  Environment environment;
  std::string text(reinterpret_cast<const char*>(data), size);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    line.resize(strnlen(line.data(), line.size()));
    const size_t equals = line.find('=');
    if (equals != std::string::npos) environment[line.substr(0, equals)] = line.substr(equals + 1);
    begin = end + 1;
  }
  return environment;
}

const char* look_up(void* context, const char* name) {
  const auto& environment = *static_cast<const Environment*>(context);
  const auto found = environment.find(name);
  return found == environment.end() ? nullptr : found->second.c_str();
}

void require(bool condition) {
  if (!condition) abort();
}

void check_ranges(const Settings& settings) {
  require(settings.total <= kMaxTotal);
  require(settings.instance < settings.total || settings.instance == kAnyInstance);
  require(!settings.elastic || settings.total == 0);
  require(static_cast<size_t>(settings.mode) < kModeCount);
  require(static_cast<size_t>(settings.vacancy) < kVacancyCount);
  require(static_cast<size_t>(settings.conflict) < kConflictCount);
  require(settings.weight >= 1 && settings.weight <= kMaxWeight);
  require(settings.rule_count <= kMaxRules);
  require(settings.spread <= (kSpreadFork | kSpreadDup));
  require(strnlen(settings.socket_path, sizeof settings.socket_path) - 1 < 107);
}

void check_rule(const Settings& settings, const MatchRule& rule) {
  require(rule.protocol == IPPROTO_UDP || rule.protocol == IPPROTO_TCP);
  require(rule.family == 0 || rule.family == AF_INET || rule.family == AF_INET6);
  require(rule.port_first != 0 && rule.port_first <= rule.port_last);
  const uint8_t family = rule.family ? rule.family : AF_INET;
  require(matches(settings, rule.protocol, family, rule.address, rule.port_first));
  require(matches(settings, rule.protocol, family, rule.address, rule.port_last));
  require(!matches(settings, rule.protocol, family, rule.address, 0));
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// NOLINTNEXTLINE(readability-identifier-naming): the same
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Environment environment = environment_of(data, size);
  Settings settings;
  const Refusal refusal = read_settings(look_up, &environment, settings);
  if (refusal.variable) {
    require(environment.count(refusal.variable) == 1);
    require(refusal.value && environment[refusal.variable] == refusal.value);
    require(refusal.expected && *refusal.expected);
  }
  require(settings.given == (environment.count("SUBSET") == 1));
  check_ranges(settings);
  for (size_t i = 0; i < settings.rule_count; ++i) check_rule(settings, settings.rules[i]);
  return 0;
}
