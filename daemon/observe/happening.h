// SPDX-License-Identifier: MIT
// Something that an operator may want to know, as it happened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/model/types.h"

namespace subset::observe {

struct Happening {
  std::string what;   // joined, left, took over, drained, resumed, flipped, ...
  std::string group;  // its id
  std::optional<uint32_t> instance;
  int32_t pid = 0;
  std::string command;
  std::string detail;
};

// One object, in one line: what `subset events` and /api/v1/events show.
std::string to_json(const Happening& happening, Time at);

}  // namespace subset::observe
