// SPDX-License-Identifier: MIT
#include "daemon/observe/sampler.h"

namespace subset::observe {

// The newest mark that is old enough to take rates from.
const Sampler::Taken* Sampler::base_for(Clock::time_point now) const {
  for (auto mark = marks_.rbegin(); mark != marks_.rend(); ++mark) {
    if (now - mark->at > kLongestRateSpan) return nullptr;
    if (now - mark->at >= kRateSpan) return &*mark;
  }
  return nullptr;
}

void Sampler::remember(const Taken& taken) {
  if (!marks_.empty() && taken.at - marks_.back().at < kRateSpan) return;
  if (marks_.size() == 2) marks_.erase(marks_.begin());
  marks_.push_back(taken);
}

SnapshotPtr Sampler::fresh() {
  const Clock::time_point start = now_();
  Snapshot snapshot = take_();
  snapshot.figures.sample_seconds = std::chrono::duration<double>(now_() - start).count();
  if (const Taken* base = base_for(start))
    add_rates(snapshot, *base->snapshot, std::chrono::duration<double>(start - base->at).count());
  last_ = {std::make_shared<const Snapshot>(std::move(snapshot)), start};
  remember(last_);
  changed_ = false;
  texts_.clear();
  return last_.snapshot;
}

SnapshotPtr Sampler::recent() {
  const Clock::duration oldest =
      changed_ ? Clock::duration(kOldestAfterChange) : Clock::duration(kOldest);
  if (last_.snapshot && now_() - last_.at < oldest) return last_.snapshot;
  return fresh();
}

TextPtr Sampler::recent_text(const std::string& name,
                             const std::function<std::string(const Snapshot&)>& render) {
  const SnapshotPtr snapshot = recent();
  TextPtr& text = texts_[name];
  if (!text) text = std::make_shared<const std::string>(render(*snapshot));
  return text;
}

}  // namespace subset::observe
