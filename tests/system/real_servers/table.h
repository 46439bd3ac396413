// SPDX-License-Identifier: MIT
// The table of servers that were tried: on standard output when all have been, and in
// tests/system/servers.md of the build directory, in the form in which the README shows it.
#pragma once

#include "tests/system/real_servers/trial.h"

namespace subset::test {

// The running test case is about this; whether it passes is the result.
void note_trial(const Trial& trial);

}  // namespace subset::test
