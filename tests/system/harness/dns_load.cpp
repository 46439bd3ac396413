// SPDX-License-Identifier: MIT
#include "tests/system/harness/dns_load.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "tests/system/harness/fail.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr auto kTick = 1ms;

// "Which address has a.b?", number 0 (RFC 1035, section 4).
constexpr std::array<unsigned char, 21> kQuestion{0, 0,  // number
                                                  1, 0,  // a question; recursion desired
                                                  0, 1,   0, 0,   0, 0, 0, 0,  // one of them
                                                  1, 'a', 1, 'b', 0,           // the name
                                                  0, 1,   0, 1};               // A, IN

}  // namespace

DnsLoad::DnsLoad(const Settings& settings)
    : settings_(settings), poller_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
  const Address server(settings.server);
  flows_.resize(settings.flows);
  for (uint32_t i = 0; i < settings.flows; i++) {
    Fd& socket = flows_[i].socket;
    socket.reset(
        checked(::socket(server.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
    checked(connect(socket.get(), server.get(), server.size()), "connect to " + server.text());
    epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
    checked(epoll_ctl(poller_.get(), EPOLL_CTL_ADD, socket.get(), &event), "epoll_ctl");
  }
  begun_ = Clock::now();
  thread_ = std::thread([this] { work(); });
}

DnsLoad::~DnsLoad() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

DnsLoad::Outcome DnsLoad::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  const std::chrono::duration<double> took = ended_ - begun_;
  outcome_.rate = static_cast<double>(outcome_.sent) / took.count();
  return outcome_;
}

// An ICMP error is reported by the next send, which then sends nothing: once more.
void DnsLoad::ask(Flow& flow) {
  std::array<unsigned char, kQuestion.size()> packet = kQuestion;
  flow.question++;
  packet[0] = static_cast<unsigned char>(flow.question >> 8);
  packet[1] = static_cast<unsigned char>(flow.question);
  while (send(flow.socket.get(), packet.data(), packet.size(), 0) < 0) {
    if (errno != ECONNREFUSED) throw_errno("ask");
    outcome_.oddities++;
  }
  flow.asked = Clock::now();
  flow.waits = true;
  waiting_++;
  outcome_.sent++;
}

void DnsLoad::listen_to(Flow& flow) {
  std::array<unsigned char, 512> packet;
  for (;;) {
    const ssize_t size = recv(flow.socket.get(), packet.data(), packet.size(), 0);
    if (size < 0 && errno == EAGAIN) return;
    const bool answer = size > 12 && (packet[2] & 0x80) != 0 && (packet[3] & 0xf) == 0 &&
                        (packet[0] << 8 | packet[1]) == flow.question && flow.waits;
    if (!answer) {
      outcome_.oddities++;
      continue;
    }
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - flow.asked);
    outcome_.slowest = std::max(outcome_.slowest, took);
    outcome_.answered++;
    flow.waits = false;
    waiting_--;
  }
}

void DnsLoad::receive_for(Clock::duration limit) {
  std::array<epoll_event, 256> events;
  const auto deadline = Clock::now() + limit;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    const int ready = epoll_wait(poller_.get(), events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    for (int i = 0; i < checked(ready, "epoll_wait"); i++)
      listen_to(flows_[events[static_cast<size_t>(i)].data.u32]);
  } while (Clock::now() < deadline);
}

void DnsLoad::give_up(Clock::time_point now) {
  for (Flow& flow : flows_) {
    if (!flow.waits || now - flow.asked < settings_.patience) continue;
    flow.waits = false;
    waiting_--;
    lost_++;
  }
}

DnsLoad::Flow* DnsLoad::idle_flow() {
  for (size_t tried = 0; tried < flows_.size(); tried++) {
    Flow& flow = flows_[next_];
    next_ = (next_ + 1) % flows_.size();
    if (!flow.waits) return &flow;
  }
  return nullptr;
}

// What was not asked in time, because servers or this thread were slow, is made up for within the
// next tenth of a second and not later: no burst.
void DnsLoad::work() {
  double due = 0;
  const double limit = settings_.rate / 10.0;
  auto last = Clock::now();
  while (!stopping_) {
    receive_for(kTick);
    const auto now = Clock::now();
    due = std::min(due + settings_.rate * std::chrono::duration<double>(now - last).count(), limit);
    last = now;
    give_up(now);
    for (; due >= 1; due--) {
      Flow* flow = idle_flow();
      if (flow == nullptr) break;
      ask(*flow);
    }
  }
  ended_ = Clock::now();
  while (waiting_ > 0) {
    receive_for(kTick);
    give_up(Clock::now());
  }
}

}  // namespace subset::test
