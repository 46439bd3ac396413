// SPDX-License-Identifier: MIT
// What the shim knows about the process it is a guest in: read once, at load, and kept over fork.
#pragma once

#include <errno.h>

#include <atomic>
#include <cstdint>

#include "shim/cpus.h"
#include "shim/settings.h"

namespace subset::shim {

struct Process {
  Settings settings;
  Refusal refusal;       // the first variable that did not parse, if any
  uint64_t lineage = 0;  // not 0
  CpuMask allowed_cpus;  // as they were at load; read with SUBSET_PIN alone
};

extern Process process;

// Idle: SUBSET is unset and nobody used SO_SUBSET. Every interposed call then goes straight on.
enum class Phase : uint8_t { Unloaded, Idle, Active };
extern std::atomic<Phase> phase;

// The constructor's work. Harmless when it is called again.
void load();

inline bool active() {
  if (phase.load(std::memory_order_relaxed) == Phase::Unloaded) [[unlikely]]
    load();  // the constructor of another library is using sockets before ours ran
  return phase.load(std::memory_order_relaxed) == Phase::Active;
}

// The first use of SO_SUBSET wakes a process whose environment says nothing.
inline void activate() {
  if (!active()) phase.store(Phase::Active, std::memory_order_relaxed);
}

// False where a variable did not parse: then says so, once a process, and sets EINVAL.
bool settings_accepted();

// A call of ours that succeeded leaves errno as libc's would: untouched.
template <typename Call>
int keeping_errno(Call call) {
  const int before = errno;
  const int result = call();
  if (result >= 0) errno = before;
  return result;
}

}  // namespace subset::shim
