// SPDX-License-Identifier: MIT
// What happens, as server-sent events: each is the object that the control socket's followers get.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "daemon/http/server.h"
#include "daemon/observe/recent_events.h"

namespace subset::http {

// A client that is slower than events come by more than are kept is cut off. Its browser comes back
// by itself, says what it saw last, and is sent what is left.
class EventStream final : public Stream {
 public:
  using Clock = std::chrono::steady_clock;

  // A line now and then tells the client that the daemon is there, and the daemon that the client
  // is.
  static constexpr auto kKeepAlive = std::chrono::seconds(15);

  // `events` outlives it. `next`: the number of the first event to send.
  EventStream(const observe::RecentEvents& events, uint64_t next,
              std::function<Clock::time_point()> now = Clock::now)
      : events_(events), next_(next), now_(std::move(now)), spoke_(now_()) {}

  std::optional<std::string> next() override;

 private:
  const observe::RecentEvents& events_;
  uint64_t next_;
  std::function<Clock::time_point()> now_;
  Clock::time_point spoke_;
  bool greeted_ = false;
};

}  // namespace subset::http
