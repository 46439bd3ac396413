// SPDX-License-Identifier: MIT
// Who wants to see something gets the last snapshot, if it is young enough: however many ask, the
// machine is looked at a few times a second at most, and not at all while nobody asks.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "daemon/observe/snapshot.h"

namespace subset::observe {

using SnapshotPtr = std::shared_ptr<const Snapshot>;
using TextPtr = std::shared_ptr<const std::string>;

class Sampler {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr auto kOldest = std::chrono::seconds(1);
  // Something has changed: then this is old. More often, changes would make storms dear.
  static constexpr auto kOldestAfterChange = std::chrono::milliseconds(200);

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
  std::function<Snapshot()> take_;
  std::function<Clock::time_point()> now_;
  SnapshotPtr last_;
  Clock::time_point taken_;
  bool changed_ = false;
  std::map<std::string, TextPtr> texts_;
};

}  // namespace subset::observe
