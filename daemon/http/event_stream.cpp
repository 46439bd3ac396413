// SPDX-License-Identifier: MIT
#include "daemon/http/event_stream.h"

namespace subset::http {
namespace {

constexpr size_t kBatch = 64 * 1024;  // bytes at once
constexpr char kGreeting[] = "retry: 1000\n\n";
constexpr char kStillHere[] = ":\n\n";

}  // namespace

std::optional<std::string> EventStream::next() {
  if (next_ < events_.oldest()) return std::nullopt;
  std::string text = greeted_ ? "" : kGreeting;
  greeted_ = true;
  while (text.size() < kBatch) {
    const std::string* event = events_.find(next_);
    if (!event) break;
    text += "id: " + events_.id_of(next_) + "\ndata: " + *event + "\n\n";
    next_++;
  }
  if (text.empty() && now_() - spoke_ >= kKeepAlive) text = kStillHere;
  if (!text.empty()) spoke_ = now_();
  return text;
}

}  // namespace subset::http
