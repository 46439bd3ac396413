// SPDX-License-Identifier: MIT
// What happens where no daemon answers: SUBSET_FALLBACK.
#pragma once

#include <cstdint>

namespace subset::shim {

struct NoDaemon {
  int error = 0;
  const char* text = "";  // the daemon's own words, if there was one after all
};

// kernel: warns once a process, and makes the best of plain SO_REUSEPORT; 0. fail: -1, and errno
// ETIMEDOUT or ECONNREFUSED.
int fall_back(int fd, uint32_t total, const NoDaemon& why);

// For all that comes to the group of this socket the one that was in it first is picked, until the
// daemon's program replaces this one.
void select_first(int fd);

}  // namespace subset::shim
