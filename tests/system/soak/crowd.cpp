// SPDX-License-Identifier: MIT
#include "tests/system/soak/crowd.h"

#include <algorithm>
#include <csignal>

#include "tests/system/harness/operator.h"
#include "tests/system/harness/real_servers.h"

namespace subset::test {
namespace {

constexpr size_t kAtHome = 4;

}  // namespace

Crowd::Crowd(const Stage& stage, uint16_t port, uint32_t seed)
    : Fleet(stage, "udp/127.0.0.1:" + std::to_string(port), seed), command_(dnsmasq_command(port)) {
  while (servers_.size() < kAtHome) join();
}

// Two of each: in whatever order they come, some are left.
std::vector<Deed> Crowd::deeds() {
  const Deed joins{"join", [this] { join(); }};
  const Deed leaves{"leave", [this] { leave(); }};
  return {joins, joins, leaves, leaves};
}

void Crowd::go_home() {
  join();
  while (servers_.size() < kAtHome) join();
  while (servers_.size() > kAtHome) leave();
}

void Crowd::join() {
  servers_.emplace_back(machine(),
                        Command{.argv = command_, .environment = daemon().environment("auto")});
  await_whole(static_cast<uint32_t>(servers_.size()));
}

// Without loss: an operator drains it before.
void Crowd::leave() {
  const auto leaver = servers_.begin() + any_below(static_cast<uint32_t>(servers_.size()));
  const pid_t pid = leaver->pid();
  const GroupStatus group = status();
  const auto member = std::ranges::find_if(
      group.members, [&](const MemberStatus& each) { return each.pid == pid; });
  if (member == group.members.end()) throw std::runtime_error("a server is no member");
  tell(daemon(), Fleet::group(), drain(member->instance));
  await_idle(pid);
  leaver->signal(SIGTERM);
  if (!leaver->wait()) throw std::runtime_error("a server does not end");
  servers_.erase(leaver);
  await_whole(static_cast<uint32_t>(servers_.size()));
}

}  // namespace subset::test
