// SPDX-License-Identifier: MIT
// The last events, numbered: what those who follow are sent, each at its own pace. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace subset::observe {

class RecentEvents {
 public:
  // `run` names this daemon among those before and after it, whose numbers start at 1 as well: no
  // '-' in it. `kept`: how many there are at most.
  explicit RecentEvents(std::string run, size_t kept = 1024) : run_(std::move(run)), kept_(kept) {}

  void add(std::string json);

  uint64_t newest() const { return newest_; }  // 0: there was none
  uint64_t oldest() const { return newest_ - events_.size() + 1; }
  // nullptr: it is forgotten, or yet to come.
  const std::string* find(uint64_t number) const;

  // How a client names an event to go on from: "<run>-<number>".
  std::string id_of(uint64_t number) const { return run_ + "-" + std::to_string(number); }
  // The first event that a client which says it has `id` has not seen. One that knows another
  // daemon's events has seen none of these.
  uint64_t first_after(std::string_view id) const;

 private:
  std::string run_;
  size_t kept_;
  uint64_t newest_ = 0;
  std::deque<std::string> events_;
};

}  // namespace subset::observe
