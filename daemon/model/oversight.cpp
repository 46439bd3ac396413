// SPDX-License-Identifier: MIT
#include "daemon/model/oversight.h"

#include <algorithm>
#include <map>

namespace subset {
namespace {

// The kernel's group that holds most of the members; of equals the one with the lowest number.
uint32_t main_group(const std::vector<Placement>& members) {
  std::map<uint32_t, size_t> sizes;
  for (const Placement& member : members) {
    if (member.kernel_group != 0) {
      ++sizes[member.kernel_group];
    }
  }
  const auto largest =
      std::ranges::max_element(sizes, {}, &std::pair<const uint32_t, size_t>::second);
  return largest != sizes.end() ? largest->first : 0;
}

}  // namespace

std::string foreign_reason(Decider decider) {
  switch (decider) {
    case Decider::Own:
      return "";
    case Decider::Kernel:
      return "the server detached the program: the kernel's hash decides";
    case Decider::Subset:
      return "the program of another subset daemon decides";
    case Decider::Server:
      return "a program that the server attached itself decides";
  }
  return "";
}

Oversight oversee(const std::vector<Placement>& members) {
  Oversight result;
  const uint32_t number = main_group(members);
  for (const Placement& member : members) {
    if (member.kernel_group == number) {
      result.foreign = number != 0 ? foreign_reason(member.decider) : "";
    } else if (member.kernel_group != 0) {
      result.misplaced.push_back(member.cookie);
    }
  }
  return result;
}

}  // namespace subset
