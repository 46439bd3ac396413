// SPDX-License-Identifier: MIT
#include "shim/process.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "shim/adopt.h"
#include "shim/environment.h"
#include "shim/log.h"
#include "shim/real.h"
#include "shim/spread.h"

namespace subset::shim {

constinit Process process;
constinit std::atomic<Phase> phase{Phase::Unloaded};

namespace {

const char* from_environment(void*, const char* name) {
  return getenv(name);
}

// Unique, not secret: where getrandom is refused, the process and the time will do.
uint64_t draw_lineage() {
  uint64_t lineage = 0;
  if (getrandom(&lineage, sizeof lineage, GRND_NONBLOCK) == sizeof lineage && lineage != 0)
    return lineage;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(getpid()) << 40 ^ static_cast<uint64_t>(now.tv_sec) << 30 ^
         static_cast<uint64_t>(now.tv_nsec) ^ 1;
}

}  // namespace

void load() {
  if (phase.load(std::memory_order_relaxed) != Phase::Unloaded) return;
  real::resolve();
  const Settings& settings = process.settings;
  process.refusal = read_settings(from_environment, nullptr, process.settings);
  process.lineage = settings.lineage ? settings.lineage : draw_lineage();
  if (settings.pin)
    sched_getaffinity(0, sizeof process.allowed_cpus,
                      reinterpret_cast<cpu_set_t*>(process.allowed_cpus.words));
  phase.store(settings.given ? Phase::Active : Phase::Idle, std::memory_order_relaxed);
  keep_variables();
  watch_forks();
  adopt_inherited();
}

bool settings_accepted() {
  static constinit std::atomic<bool> said{false};
  const Refusal& refusal = process.refusal;
  if (!refusal.variable) return true;
  if (!said.exchange(true, std::memory_order_relaxed))
    Line(LogLevel::Error) << refusal.variable << "=" << refusal.value << ": expected "
                          << refusal.expected;
  errno = EINVAL;
  return false;
}

}  // namespace subset::shim

// errno is put back: a program may look at it before its first call, however wrong that is.
__attribute__((constructor)) static void at_load() {
  subset::shim::as_guest([] {
    subset::shim::load();
    return 0;
  });
}
