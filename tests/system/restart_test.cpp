// SPDX-License-Identifier: MIT
// `subset run --restart` with programs that die at once: they come back, slower and slower, so that
// a server that cannot run costs its machine next to nothing, and who looks is told. How the pause
// goes on up to its bound, and begins again after a good run, is unit/ctl.
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/real_servers.h"

namespace subset::test {
namespace {

using std::chrono::nanoseconds;

// Instance i notes in starts.i when it was started, and ends with this status.
std::vector<std::string> mortal(Machine& machine, const std::string& status) {
  const std::string file = machine.file("starts.").string();
  return {"/bin/sh", "-c", "date +%s%N >> " + file + "$0; exit " + status, "{i}"};
}

std::vector<nanoseconds> starts_of(Machine& machine, uint32_t instance) {
  std::ifstream file(machine.file("starts." + std::to_string(instance)));
  std::vector<nanoseconds> starts;
  for (int64_t at = 0; file >> at;) starts.emplace_back(at);
  return starts;
}

// Each pause begins when the process has ended, after what it noted: no machine is too slow for it.
void check_pauses_double(const std::vector<nanoseconds>& starts) {
  nanoseconds pause = 100ms;
  for (size_t i = 1; i < starts.size(); i++, pause *= 2) {
    CAPTURE(i);
    CHECK((starts[i] - starts[i - 1] >= pause));
  }
}

TEST_SUITE("system") {
  TEST_CASE("instances that die at once come back, each time after twice as long") {
    constexpr size_t kStarts = 5;
    Machine machine;
    DaemonProcess daemon(machine);
    Process run(machine, run_command(daemon, 2, mortal(machine, "3"), {"--restart"}));
    for (const uint32_t instance : {0u, 1u}) {
      REQUIRE(eventually([&] { return starts_of(machine, instance).size() >= kStarts; }));
      check_pauses_double(starts_of(machine, instance));
    }
    // One line about each end, and one about what follows.
    for (const char* pause : {"0.1 s", "0.2 s", "0.4 s", "0.8 s"}) {
      CAPTURE(pause);
      for (const char* instance : {"0", "1"})
        CHECK(lines_with(run.err(),
                         std::string("instance ") + instance + " is started again in " + pause)
                  .size() == 1);
    }
    CHECK(lines_with(run.err(), "ended with status 3").size() >= 2 * kStarts - 2);

    // Nobody waits for the end of a pause.
    run.signal(SIGTERM);
    CHECK(run.wait() == 0);
    CHECK(starts_of(machine, 0).size() <= kStarts + 1);
  }

  TEST_CASE("an instance that ended well does not come back, nor does one without --restart") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process well(machine, run_command(daemon, 2, mortal(machine, "0"), {"--restart"}));
    CHECK(well.wait() == 0);
    CHECK(starts_of(machine, 0).size() == 1);
    Process badly(machine, run_command(daemon, 2, mortal(machine, "3")));
    CHECK(badly.wait() == 3);
    CHECK(starts_of(machine, 0).size() == 2);
    CHECK(starts_of(machine, 1).size() == 2);
  }
}

}  // namespace
}  // namespace subset::test
