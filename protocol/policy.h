// SPDX-License-Identifier: MIT
// The words that the shim, the daemon and the command share, with their numbers on the wire and in
// the pinned maps, and their spelling in variables, options, JSON and metrics (DESIGN sections 2,
// 3). Neither allocates nor calls libc: the shim uses it inside somebody else's process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace subset {

inline constexpr uint32_t kMaxTotal = 4096;   // instances of one generation
inline constexpr uint32_t kMaxWeight = 1000;  // an instance's weight is 1 to this
inline constexpr uint32_t kDefaultWeight = 100;
inline constexpr uint32_t kAnyInstance = 0xffffffffu;  // SO_SUBSET_ANY

// How a member is picked.
enum class Mode : uint8_t { Hash = 0, Source = 1, Random = 2, Cpu = 3, Numa = 4, Least = 5 };

// What happens with the share of an instance that nobody holds.
enum class Vacancy : uint8_t { Spread = 0, Refuse = 1, Hold = 2 };

// What happens when another lineage asks for an instance that is held.
enum class Conflict : uint8_t { Takeover = 0, Refuse = 1 };

inline constexpr const char* kModeNames[] = {"hash", "source", "random", "cpu", "numa", "least"};
inline constexpr const char* kVacancyNames[] = {"spread", "refuse", "hold"};
inline constexpr const char* kConflictNames[] = {"takeover", "refuse"};

inline constexpr size_t kModeCount = sizeof kModeNames / sizeof *kModeNames;
inline constexpr size_t kVacancyCount = sizeof kVacancyNames / sizeof *kVacancyNames;
inline constexpr size_t kConflictCount = sizeof kConflictNames / sizeof *kConflictNames;

constexpr const char* name_of(Mode mode) {
  return kModeNames[static_cast<size_t>(mode)];
}
constexpr const char* name_of(Vacancy vacancy) {
  return kVacancyNames[static_cast<size_t>(vacancy)];
}
constexpr const char* name_of(Conflict conflict) {
  return kConflictNames[static_cast<size_t>(conflict)];
}

}  // namespace subset
