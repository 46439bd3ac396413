// SPDX-License-Identifier: MIT
// From options to what an instance is started with. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "shim/settings.h"

namespace subset::ctl {

// "NAME=VALUE", as execve takes it.
using Environment = std::vector<std::string>;

std::optional<std::string_view> find_variable(const Environment& environment,
                                              std::string_view name);
void set_variable(Environment& environment, std::string_view name, std::string_view value);

// What `run` and `exec` say about steering. What is not said is left to the environment.
struct Steering {
  std::optional<std::string> mode, match, spread, vacancy, conflict, weight, pin, fallback, socket;
};

// One place where an option, its variable and its explanation meet.
struct SteeringOption {
  const char* option;
  const char* variable;
  std::optional<std::string> Steering::*value;
  const char* placeholder;  // nullptr: a flag, for which the variable is 1
  const char* help;
};
inline constexpr SteeringOption kSteeringOptions[] = {
    {"--mode", "SUBSET_MODE", &Steering::mode, "MODE",
     "how a member is picked: hash, source, random, cpu, numa, least"},
    {"--match", "SUBSET_MATCH", &Steering::match, "RULES",
     "steer these binds only: udp, tcp:8000-8100, udp:[::1]:53, ... (comma list)"},
    {"--spread", "SUBSET_SPREAD", &Steering::spread, "WHAT",
     "a member for each worker or dup: off, fork, dup (comma list)"},
    {"--vacancy", "SUBSET_VACANCY", &Steering::vacancy, "POLICY",
     "the share of an instance that is away: spread, refuse, hold"},
    {"--conflict", "SUBSET_CONFLICT", &Steering::conflict, "POLICY",
     "when the instance is held by another: takeover, refuse"},
    {"--weight", "SUBSET_WEIGHT", &Steering::weight, "W", "weight of each instance, 1 to 1000"},
    {"--pin", "SUBSET_PIN", &Steering::pin, nullptr,
     "pin each instance to the CPUs whose packets it gets"},
    {"--fallback", "SUBSET_FALLBACK", &Steering::fallback, "HOW",
     "without a daemon: kernel (plain SO_REUSEPORT), fail"},
    {"--socket", "SUBSET_SOCKET", &Steering::socket, "PATH", "the daemon's control socket"},
};

// The variables that the options stand for.
Environment variables_of(const Steering& steering);

// What the shim would make of this environment, or what it would complain about.
struct BadVariable {
  std::string variable, value, expected;
};
tl::expected<shim::Settings, BadVariable> settings_of(const Environment& environment);
Error error_of(const BadVariable& bad);

// What all instances of one command have in common.
struct Launch {
  std::vector<std::string> command;
  Steering steering;
  Environment environment;  // ours, which theirs is made from
  std::string shim;         // path of libsubset.so
};

struct Start {
  std::vector<std::string> arguments;
  Environment environment;
};

// `share` is a value of SUBSET: 3/8, auto/8, auto. {i} and {n} in the command become the instance
// and the total; where the share leaves them open, using them is an error.
Result<Start> plan_start(const Launch& launch, const std::string& share, uint64_t lineage);

// LD_PRELOAD with the shim first, and once.
std::string preload_with(std::string_view existing, const std::string& shim);

// One warning by `subset run` stands for that of every instance: unless the user chose a level.
void silence_fallback_warnings(Environment& environment);

}  // namespace subset::ctl
