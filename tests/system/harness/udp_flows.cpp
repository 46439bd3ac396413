// SPDX-License-Identifier: MIT
#include "tests/system/harness/udp_flows.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "tests/system/harness/fail.h"
#include "tests/system/servers/address.h"
#include "tests/system/servers/echo.h"

namespace subset::test {
namespace {

constexpr size_t kEventsAtOnce = 256;

Fd connect_flow(const Address& server, const std::string& from) {
  Fd socket(
      checked(::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
  if (!from.empty()) {
    const Address own(from);
    checked(bind(socket.get(), own.get(), own.size()), "bind to " + from);
  }
  checked(connect(socket.get(), server.get(), server.size()), "connect to " + server.text());
  return socket;
}

timespec to_timespec(Clock::duration duration) {
  auto nanoseconds = std::max<int64_t>(0, std::chrono::nanoseconds(duration).count());
  return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
}

}  // namespace

UdpFlows::UdpFlows(const std::string& server, uint32_t count, const std::string& from)
    : poller_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
  Address address(server);
  for (uint32_t i = 0; i < count; i++) {
    flows_.push_back({connect_flow(address, from), {}, 0});
    epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
    checked(epoll_ctl(poller_.get(), EPOLL_CTL_ADD, flows_.back().socket.get(), &event),
            "epoll_ctl");
  }
}

// An ICMP error is reported by the next send, which then sends nothing: once more.
void UdpFlows::send(uint32_t number) {
  Flow& flow = flows_[number];
  Question question{number, static_cast<uint32_t>(flow.journeys.size())};
  flow.journeys.push_back({.sent = Clock::now()});
  while (::send(flow.socket.get(), &question, sizeof question, 0) < 0) {
    if (errno != ECONNREFUSED) throw_errno("send a datagram");
    oddities_++;
  }
  sent_++;
}

bool UdpFlows::receive_one(uint32_t number) {
  Flow& flow = flows_[number];
  Answer answer;
  ssize_t got = recv(flow.socket.get(), &answer, sizeof answer, 0);
  if (got < 0 && errno == EAGAIN) return false;
  bool sound = got == sizeof answer && answer.flow == number &&
               answer.sequence < flow.journeys.size() && flow.journeys[answer.sequence].lost();
  if (!sound) {
    oddities_++;
    return true;
  }
  Journey& journey = flow.journeys[answer.sequence];
  journey.answered = Clock::now();
  journey.server = answer.server;
  flow.answered++;
  answered_++;
  return true;
}

bool UdpFlows::receive_ready(Clock::duration limit) {
  std::array<epoll_event, kEventsAtOnce> events;
  timespec timeout = to_timespec(limit);
  int ready = epoll_pwait2(poller_.get(), events.data(), kEventsAtOnce, &timeout, nullptr);
  if (ready < 0 && errno == EINTR) return false;
  checked(ready, "epoll_pwait2");
  for (int i = 0; i < ready; i++) {
    while (receive_one(events[static_cast<size_t>(i)].data.u32)) {
    }
  }
  return ready > 0;
}

bool UdpFlows::exchange(uint32_t each, uint32_t window, Clock::duration patience) {
  uint64_t goal = answered_ + uint64_t{each} * flows_.size();
  std::vector<uint32_t> left(flows_.size(), each);
  while (answered_ < goal) {
    for (uint32_t i = 0; i < flows_.size(); i++) {
      Flow& flow = flows_[i];
      while (left[i] > 0 && flow.journeys.size() - flow.answered < window) {
        send(i);
        left[i]--;
      }
    }
    if (!receive_ready(patience * slowness())) return false;
  }
  return true;
}

void UdpFlows::send_round() {
  for (uint32_t i = 0; i < flows_.size(); i++) send(i);
}

void UdpFlows::receive_until(Time deadline) {
  for (Time now = Clock::now(); now < deadline; now = Clock::now()) receive_ready(deadline - now);
}

void UdpFlows::drain(Clock::duration quiet) {
  while (answered_ < sent_ && receive_ready(quiet * slowness())) {
  }
}

std::vector<Number> UdpFlows::lost(Time from) const {
  std::vector<Number> result;
  for (uint32_t i = 0; i < flows_.size(); i++) {
    for (uint32_t j = 0; j < flows_[i].journeys.size(); j++) {
      const Journey& journey = flows_[i].journeys[j];
      if (journey.sent >= from && journey.lost()) result.push_back({i, j});
    }
  }
  return result;
}

std::set<uint32_t> UdpFlows::servers(uint32_t flow, Time from, Time to) const {
  std::set<uint32_t> result;
  for (const Journey& journey : flows_[flow].journeys) {
    if (journey.sent >= from && journey.sent < to && !journey.lost()) result.insert(journey.server);
  }
  return result;
}

std::vector<uint32_t> UdpFlows::owners() const {
  std::vector<uint32_t> result;
  for (const Flow& flow : flows_) {
    auto last = std::find_if(flow.journeys.rbegin(), flow.journeys.rend(),
                             [](const Journey& journey) { return !journey.lost(); });
    result.push_back(last == flow.journeys.rend() ? kNobody : last->server);
  }
  return result;
}

PacedLoad::PacedLoad(UdpFlows& flows, Clock::duration period)
    : flows_(flows), thread_([this, period] { work(period * slowness()); }) {}

PacedLoad::~PacedLoad() {
  join();
}

void PacedLoad::join() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void PacedLoad::stop() {
  join();
  flows_.drain();
}

void PacedLoad::wait_rounds(uint64_t rounds) const {
  uint64_t goal = rounds_ + rounds;
  while (rounds_ < goal) std::this_thread::sleep_for(1ms);
}

void PacedLoad::work(Clock::duration period) {
  for (Time next = Clock::now(); !stopping_; next = std::max(next + period, Clock::now())) {
    flows_.receive_until(next);
    flows_.send_round();
    rounds_++;
  }
}

}  // namespace subset::test
