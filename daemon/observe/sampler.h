// SPDX-License-Identifier: MIT
// Who wants to see something gets the last snapshot, if it is young enough: however many ask, the
// machine is looked at a few times a second at most, and not at all while nobody asks.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/observe/snapshot.h"

namespace subset::observe {

using SnapshotPtr = std::shared_ptr<const Snapshot>;
using TextPtr = std::shared_ptr<const std::string>;

class Sampler {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr auto kOldest = std::chrono::seconds(1);
  // Something has changed: then this is old. More often, changes would make storms dear.
  static constexpr auto kOldestAfterChange = std::chrono::milliseconds(500);
  // Rates are over this time at least: over less they would be noise.
  static constexpr auto kRateSpan = std::chrono::milliseconds(500);
  // And over this at most: after a longer pause the next snapshot has none, and the one after has.
  static constexpr auto kLongestRateSpan = std::chrono::minutes(2);

  explicit Sampler(std::function<Snapshot()> take,
                   std::function<Clock::time_point()> now = Clock::now)
      : take_(std::move(take)), now_(std::move(now)) {}

  // A new one: what an operator has just changed is in it.
  SnapshotPtr fresh();
  SnapshotPtr recent();

  // Not only numbers: a member came or went, somebody changed a group.
  void changed() { changed_ = true; }

  // The recent snapshot, by `render`; made once a snapshot for each `name`.
  TextPtr recent_text(const std::string& name,
                      const std::function<std::string(const Snapshot&)>& render);

 private:
  struct Taken {
    SnapshotPtr snapshot;
    Clock::time_point at;
  };

  const Taken* base_for(Clock::time_point now) const;
  void remember(const Taken& taken);

  std::function<Snapshot()> take_;
  std::function<Clock::time_point()> now_;
  Taken last_;
  std::vector<Taken> marks_;  // two at most, at least kRateSpan apart: what rates are taken from
  bool changed_ = false;
  std::map<std::string, TextPtr> texts_;  // of the last one
};

}  // namespace subset::observe
