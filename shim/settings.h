// SPDX-License-Identifier: MIT
// What the environment asks for (DESIGN section 3). Pure, without allocation and without libc
// beyond <string.h> and inet_pton: it runs inside somebody else's process. The command uses it too,
// so that `subset run` refuses what the shim would refuse.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/policy.h"

namespace subset::shim {

enum class Fallback : uint8_t { Kernel, Fail };
enum class LogLevel : uint8_t { Off, Error, Warn, Info, Debug };

// SUBSET_SPREAD, a set of bits.
inline constexpr uint8_t kSpreadFork = 1u << 0;
inline constexpr uint8_t kSpreadDup = 1u << 1;

// One item of SUBSET_MATCH: `udp`, `tcp:8000-8100`, `udp:[::1]:53`, `tcp:127.0.0.1:80`.
struct MatchRule {
  uint8_t protocol = 0;        // IPPROTO_UDP or IPPROTO_TCP
  uint8_t family = 0;          // AF_INET, AF_INET6, or 0: any address
  uint16_t port_first = 1;     // inclusive
  uint16_t port_last = 65535;  // inclusive
  uint8_t address[16] = {};    // network order, with family
};
inline constexpr size_t kMaxRules = 32;

struct Settings {
  bool given = false;    // SUBSET is set, well or badly: act on sockets without SO_SUBSET too
  bool elastic = false;  // SUBSET=auto
  uint32_t total = 0;    // 0 with elastic
  uint32_t instance = kAnyInstance;
  Mode mode = Mode::Hash;
  bool mode_given = false;
  Vacancy vacancy = Vacancy::Spread;
  bool vacancy_given = false;
  Conflict conflict = Conflict::Takeover;
  uint32_t weight = kDefaultWeight;
  bool weight_given = false;
  uint8_t spread = 0;
  bool pin = false;
  Fallback fallback = Fallback::Kernel;
  LogLevel log = LogLevel::Warn;
  uint64_t lineage = 0;   // SUBSET_LINEAGE, as `subset run` and `exec` pass it on; 0: not given
  size_t rule_count = 0;  // 0: every UDP or TCP bind to a fixed port
  MatchRule rules[kMaxRules] = {};
  char socket_path[108] = {};  // sun_path; the default where SUBSET_SOCKET is unset
};

// A value that does not parse: which variable, its value, and what would have been right.
struct Refusal {
  const char* variable = nullptr;  // nullptr: all is well
  const char* value = nullptr;
  const char* expected = nullptr;  // "I/N, auto/N or auto, with I below N and N at most 4096"
};

// Looks variables up: getenv, or a table in tests.
using Lookup = const char* (*)(void* context, const char* name);

// Reads every variable. On a refusal `settings` holds the defaults for the refused one, and the log
// level where that parsed, so that the caller can say so.
Refusal read_settings(Lookup lookup, void* context, Settings& settings);

// Is a bind to this address steered? `address` in network order (4 or 16 bytes), port in host
// order, not 0. An IPv4-mapped IPv6 address matches IPv6 rules only: it is bound by an IPv6 socket.
bool matches(const Settings& settings, uint8_t protocol, uint8_t family, const uint8_t* address,
             uint16_t port);

}  // namespace subset::shim
