// SPDX-License-Identifier: MIT
#include "tests/system/soak/managed.h"

#include <thread>

#include "tests/system/harness/hobble.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/real_servers.h"

namespace subset::test {
namespace {

constexpr uint32_t kAtHome = 3;
constexpr auto kDrained = 100ms;  // how long an operator leaves it so

}  // namespace

Managed::Managed(const Stage& stage, Kind kind, uint32_t seed)
    : Fleet(stage, kind.group, seed), kind_(std::move(kind)), total_(kAtHome) {
  run_.emplace(start(total_));
  await_whole(total_);
}

Process Managed::start(uint32_t total) {
  return Process(machine(), run_command(daemon(), total, kind_.server, {"--until-replaced"}));
}

std::vector<Deed> Managed::deeds() {
  return {{"takeover", [this] { restart_all(); }},
          {"resize", [this] { resize(1 + (total_ + any_below(4)) % 5); }},  // 1 to 5, not as it is
          {"drain and resume", [this] { drain_one(); }},
          {"weight", [this] { weigh_one(); }},
          {"mode", [this] { change_mode(); }}};
}

void Managed::go_home() {
  if (total_ != kAtHome)
    resize(kAtHome);
  else
    restart_all();
}

void Managed::restart_all() {
  const Hobble hobble(run_->pid());
  roll(*run_, 1);
  await_whole(total_);
}

// The run before ends by itself when its servers have done.
void Managed::resize(uint32_t total) {
  Process next = start(total);
  await_whole(total);
  if (run_->wait(30s) != 0) throw std::runtime_error("a replaced run fails: " + run_->err());
  run_ = std::move(next);
  total_ = total;
}

// Somebody has to be left to serve.
void Managed::drain_one() {
  if (total_ == 1) return resize(2);
  const uint32_t instance = any_below(total_);
  tell(daemon(), group(), drain(instance));
  std::this_thread::sleep_for(kDrained);
  tell(daemon(), group(), resume(instance));
  await_whole(total_);
}

void Managed::weigh_one() {
  tell(daemon(), group(), weight(any_below(total_), 1 + any_below(300)));
}

void Managed::change_mode() {
  const auto which = any_below(static_cast<uint32_t>(kind_.modes.size()));
  tell(daemon(), group(), mode(kind_.modes[which]));
}

}  // namespace subset::test
