// SPDX-License-Identifier: MIT
// What the shim knows about the process it is a guest in: read once, at load, and kept over fork.
#pragma once

#include <errno.h>
#include <pthread.h>

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

// Runs a call of ours as a guest does: one that succeeds leaves errno as libc's would, untouched;
// and the calls in it that are cancellation points (connect, sendmsg, recv, write) are none, since
// bind and listen, which the program called, are none either: a thread that was cancelled in there
// would leave a descriptor behind.
template <typename Call>
int as_guest(Call call) {
  const int errno_before = errno;
  int cancel_before = 0;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_before);
  const int result = call();
  pthread_setcancelstate(cancel_before, nullptr);
  if (result >= 0) errno = errno_before;
  return result;
}

}  // namespace subset::shim
