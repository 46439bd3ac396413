// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace subset::test {

// Does a socket of the calling thread's network wait where a group of this id would?
// "udp/[::1]:53".
bool is_bound(const std::string& group);

}  // namespace subset::test
