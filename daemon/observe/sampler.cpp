// SPDX-License-Identifier: MIT
#include "daemon/observe/sampler.h"

namespace subset::observe {

SnapshotPtr Sampler::fresh() {
  last_ = std::make_shared<const Snapshot>(take_());
  taken_ = now_();
  changed_ = false;
  texts_.clear();
  return last_;
}

SnapshotPtr Sampler::recent() {
  const Clock::duration oldest =
      changed_ ? Clock::duration(kOldestAfterChange) : Clock::duration(kOldest);
  if (last_ && now_() - taken_ < oldest) return last_;
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
