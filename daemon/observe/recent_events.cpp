// SPDX-License-Identifier: MIT
#include "daemon/observe/recent_events.h"

#include <algorithm>
#include <charconv>

namespace subset::observe {

void RecentEvents::add(std::string json) {
  events_.push_back(std::move(json));
  newest_++;
  if (events_.size() > kept_) events_.pop_front();
}

const std::string* RecentEvents::find(uint64_t number) const {
  if (number < oldest() || number > newest_) return nullptr;
  return &events_[number - oldest()];
}

uint64_t RecentEvents::first_after(std::string_view id) const {
  const size_t dash = id.rfind('-');
  uint64_t number = 0;
  if (dash == std::string_view::npos || id.substr(0, dash) != run_) return oldest();
  const auto [end, error] = std::from_chars(id.data() + dash + 1, id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size() || number > newest_) return oldest();
  return std::max(number + 1, oldest());
}

}  // namespace subset::observe
