// SPDX-License-Identifier: MIT
#include "tests/system/soak/fleet.h"

#include <algorithm>

namespace subset::test {

void Fleet::await_whole(uint32_t total) const {
  await(group_ + ": " + std::to_string(total) + " instances serve", [&] {
    const Document document = daemon().status();
    const GroupStatus* group = document.find(group_);
    return group != nullptr && group->total == total && group->active() == total;
  });
}

void Fleet::await_idle(pid_t process) const {
  await(group_ + ": process " + std::to_string(process) + " is idle", [&] {
    const GroupStatus group = status();
    return std::ranges::none_of(group.members, [&](const MemberStatus& member) {
      return member.pid == process &&
             (member.queue_bytes != 0 || member.backlog != 0 || member.open_connections != 0);
    });
  });
}

}  // namespace subset::test
