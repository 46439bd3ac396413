// SPDX-License-Identifier: MIT
#include "daemon/model/pace.h"

#include <algorithm>

namespace subset {
namespace {

constexpr int kPauseFactor = 4;
constexpr std::chrono::milliseconds kLongestPause{5};

}  // namespace

bool may_be_put_off(const Group& group, const Admission& admission) {
  return group.members.size() >= kPacedFrom && group.vacancy != Vacancy::Refuse &&
         admission.generation == group.generation && !admission.known &&
         admission.displaced.empty() && !admission.vacates;
}

std::chrono::nanoseconds pause_after(std::chrono::nanoseconds took) {
  return std::min<std::chrono::nanoseconds>(took * kPauseFactor, kLongestPause);
}

}  // namespace subset
