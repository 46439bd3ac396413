// SPDX-License-Identifier: MIT
// Starts the probe with or without the shim in it, and the ports that it may use.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace subset::test {

using Environment = std::map<std::string, std::string>;
using Operations = std::vector<std::string>;

struct Result {
  int status = 0;                // as waitpid gives it
  std::vector<std::string> out;  // lines
  std::string err;
  std::chrono::milliseconds took{};

  std::string said() const;  // the lines, with " | " between them
};

// Any command, with nothing of SUBSET_* in its environment but what is given.
Result run_command(const std::vector<std::string>& command, const Environment& environment = {});

// The probe, with the shim in it. It speaks to no daemon unless SUBSET_SOCKET says so.
Result preload(const Operations& operations, Environment environment = {});

// The probe alone.
Result without_shim(const Operations& operations);

// A port that nobody has, for UDP and TCP, as text.
std::string free_port();

// A directory of this process, removed at its end.
const std::string& scratch();

std::string shim_path();
std::string probe_path();

}  // namespace subset::test
