// SPDX-License-Identifier: MIT
// Looks whether the kernel asks the groups' programs, and tells when it does not.
#include "daemon/model/oversight.h"

#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"

namespace subset {
namespace {

// The stage is pinned and outlives daemons and programs: who jumps by it is of this group.
Decider decider_of(const subset_kernel_group& found, uint32_t stage) {
  if (found.program == SUBSET_NO_PROGRAM) return Decider::Kernel;
  if (found.program == SUBSET_OTHER_PROGRAM) return Decider::Server;
  return found.stage == stage ? Decider::Own : Decider::Subset;
}

observe::Stranger misplaced(const Member& member) {
  return {.pid = member.pid,
          .command = member.command,
          .cookie = member.cookie,
          .reason =
              "a member, but in another group of the kernel's than the others: its share goes "
              "to them, and what the kernel gives it is not steered"};
}

}  // namespace

// A program that the server attached is left alone: attaching ours again at each join would make
// two owners of one group fight. One of ours that is not this group's has lost its daemon, or will
// have it back at the next join of its own.
Result<std::string> Groups::attach(kernel::Steering& steering, int socket) {
  auto found = around_.watch->look_at(socket);
  if (!found) return tl::unexpected(found.error());
  if (decider_of(found->kernel_group, steering.stage()) == Decider::Server)
    return foreign_reason(Decider::Server);
  if (auto done = steering.attach(socket); !done) return tl::unexpected(done.error());
  return std::string();
}

void Groups::oversee_group(const Group& group, Runtime& runtime, const Samples& samples) {
  const uint32_t stage = runtime.steering->stage();
  std::vector<Placement> placements;
  for (const auto& [cookie, member] : group.members) {
    const auto sample = samples.find(cookie);
    if (member.slot == kNoSlot || sample == samples.end()) continue;
    const subset_kernel_group& found = sample->second.kernel_group;
    placements.push_back(
        {.cookie = cookie, .kernel_group = found.number, .decider = decider_of(found, stage)});
  }
  const Oversight oversight = oversee(placements);
  report_foreign(group, runtime, oversight.foreign);
  std::vector<observe::Stranger> apart;
  for (const Cookie cookie : oversight.misplaced)
    apart.push_back(misplaced(group.members.at(cookie)));
  report_strangers(group, runtime.misplaced, std::move(apart));
}

void Groups::report_foreign(const Group& group, Runtime& runtime, const std::string& reason) {
  if (runtime.foreign == reason) return;
  const bool over = reason.empty();
  if (over)
    spdlog::info("{}: its own program decides again", group.id);
  else
    spdlog::warn("{}: foreign: {}; its members' shares are not kept", group.id, reason);
  tell_({.what = over ? "steered again" : "foreign",
         .group = group.id,
         .instance = {},
         .pid = 0,
         .command = {},
         .detail = reason});
  runtime.foreign = reason;
}

}  // namespace subset
