// SPDX-License-Identifier: MIT
#include "daemon/model/turns.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

namespace subset {

std::vector<GroupSerial> in_turns(std::vector<WaitingGroup> waiting, uint32_t last_uid) {
  std::ranges::sort(waiting, {}, &WaitingGroup::since);
  std::unordered_map<uint32_t, size_t> turns;
  std::vector<std::tuple<size_t, uint32_t, GroupSerial>> order;
  order.reserve(waiting.size());
  for (const WaitingGroup& one : waiting)
    order.emplace_back(turns[one.uid]++, one.uid - last_uid - 1, one.group);
  std::ranges::sort(order);
  std::vector<GroupSerial> groups;
  groups.reserve(order.size());
  for (const auto& [turn, after_last, group] : order) groups.push_back(group);
  return groups;
}

}  // namespace subset
