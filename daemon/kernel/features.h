// SPDX-License-Identifier: MIT
// What this kernel lets this process do, found out by doing it.
#pragma once

#include <string>
#include <vector>

namespace subset::kernel {

struct Feature {
  std::string name;
  bool ok = false;
  bool required = false;  // without it no daemon runs
  int code = 0;           // errno of what failed
  std::string detail;     // what was tried, or what failed
  std::string cost;       // what is lost without it
  std::string remedy;     // empty: a kernel that is configured for it
};

// Leaves nothing behind: each program, map, pin and socket is gone when it returns.
std::vector<Feature> probe_features();

// May a program go over all values of a map of socket storage?
bool iterates_storage();

}  // namespace subset::kernel
