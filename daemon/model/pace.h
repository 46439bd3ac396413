// SPDX-License-Identifier: MIT
// How soon a newcomer's share of a large group is planned. Pure.
#pragma once

#include <chrono>

#include "daemon/model/registry.h"

namespace subset {

// In a group of this many members a newcomer's share is a fraction of a percent.
inline constexpr size_t kPacedFrom = 256;

// May this newcomer be told that it is in before it has its share? Its socket is attached and in
// its slot, and what it will get goes to the others until then: nothing is lost by that. Where
// packets are refused for want of it, or go to somebody who is to have no more, it is planned at
// once.
bool may_be_put_off(const Group& group, const Admission& admission);

// Between two plans of a group for newcomers alone, from the time that the last one took: planning
// is work for the whole group, and is to be but a part of what the daemon does for many who come.
std::chrono::nanoseconds pause_after(std::chrono::nanoseconds took);

}  // namespace subset
