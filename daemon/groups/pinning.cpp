// SPDX-License-Identifier: MIT
// Pins that somebody removed while the daemon runs. Steering does not need them, but the next
// daemon does; and with the last pin and this daemon the program of a group would go, so that the
// kernel's hash would decide from then on. So they are made again as long as that is possible.
#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"

namespace subset {
namespace {

// A look at a pin takes a few microseconds: so many groups, of eight pins each, a second. With 64
// that was nearly half of what an idle daemon of a hundred groups used.
constexpr size_t kGroupsALook = 16;

}  // namespace

// What new groups need, and what tells whether this directory is still the daemon's.
Result<void> Groups::keep_shared_pins() {
  if (auto kept = around_.pins.keep_root(); !kept) return kept;
  const auto made = around_.watch->keep_pins(around_.pins);
  if (!made) return tl::unexpected(made.error());
  pins_made_again_ += *made;
  return {};
}

Result<void> Groups::pin_again() {
  if (auto kept = keep_shared_pins(); !kept) return kept;
  const size_t groups = std::min(runtimes_.size(), kGroupsALook);
  auto next = runtimes_.upper_bound(pins_kept_last_);
  for (size_t i = 0; i < groups; i++, ++next) {
    if (next == runtimes_.end()) next = runtimes_.begin();
    pins_kept_last_ = next->first;
    const auto made = next->second.steering->keep_pins();
    if (!made) return tl::unexpected(made.error());
    pins_made_again_ += *made;
  }
  return {};
}

// Says so once, not each second.
void Groups::keep_pins() {
  const auto kept = pin_again();
  const std::string lost = kept ? "" : kept.error().message();
  const bool known = lost == std::exchange(pins_lost_, lost);
  if (!kept && !known) {
    spdlog::error(
        "pins are gone and cannot be made again: {}; steering goes on, but ends with this daemon "
        "unless that is mended",
        lost);
    tell_({.what = "unpinned", .detail = lost});
  }
  const size_t made = std::exchange(pins_made_again_, 0);
  if (made == 0) return;
  spdlog::warn("{} pins below {} were gone: made again", made, around_.pins.dir());
  tell_({.what = "pinned again", .detail = std::to_string(made) + " pins that were gone"});
}

}  // namespace subset
