// SPDX-License-Identifier: MIT
#include "tests/system/soak/mortal.h"

#include <csignal>
#include <thread>

#include "tests/system/harness/real_servers.h"

namespace subset::test {
namespace {

constexpr uint32_t kInstances = 2;
constexpr auto kStop = 20ms;  // so that something is queued

}  // namespace

Mortal::Mortal(const Stage& stage, Kind kind, uint32_t seed)
    : Fleet(stage, kind.group, seed), kind_(std::move(kind)) {
  for (uint32_t i = 0; i < kInstances; i++) {
    servers_.push_back(start(i));
    await_holder(i, servers_[i]);
  }
}

Process Mortal::start(uint32_t instance) {
  Environment environment =
      daemon().environment(std::to_string(instance) + "/" + std::to_string(kInstances));
  environment["SUBSET_VACANCY"] = "hold";
  return Process(machine(),
                 {.argv = numbered(kind_.server, started_++), .environment = environment});
}

void Mortal::await_holder(uint32_t instance, const Process& server) const {
  await(group() + ": instance " + std::to_string(instance) + " has the new server", [&] {
    const Document document = daemon().status();
    const GroupStatus* group = document.find(this->group());
    const MemberStatus* member = group != nullptr ? group->of(instance) : nullptr;
    return member != nullptr && member->pid == server.pid();
  });
}

std::vector<Deed> Mortal::deeds() {
  const Deed kills{"kill -9 and hold", [this] { kill_one(); }};
  return {kills, kills, {"takeover", [this] { replace(any_below(kInstances)); }}};
}

void Mortal::kill_one() {
  const uint32_t instance = any_below(kInstances);
  Process& server = servers_[instance];
  server.stop_in(kind_.waits_in);
  std::this_thread::sleep_for(kStop);
  server.kill9();
  std::this_thread::sleep_for(std::chrono::milliseconds(any_below(100)));
  server = start(instance);
  await_holder(instance, server);
}

void Mortal::replace(uint32_t instance) {
  Process newcomer = start(instance);
  await_holder(instance, newcomer);
  Process& old = servers_[instance];
  await_idle(old.pid());
  old.signal(SIGTERM);
  if (!old.wait()) throw std::runtime_error("a server does not end");
  old = std::move(newcomer);
}

void Mortal::see_new_daemon() {
  for (uint32_t i = 0; i < kInstances; i++) replace(i);
}

}  // namespace subset::test
