// SPDX-License-Identifier: MIT
#include "tests/system/harness/http_load.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

constexpr auto kTick = 1ms;
constexpr std::string_view kRequest = "GET / HTTP/1.0\r\n\r\n";
constexpr std::string_view kGood = " 200 ";

// A port of a client stays taken for a minute after its connection, and there are 28,000: many
// addresses have many ports.
void bind_somewhere(const Fd& socket, uint64_t number) {
  const int late = 1;  // the port is chosen by connect, which knows what is free for this server
  checked(setsockopt(socket.get(), SOL_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late),
          "choose the port late");
  const auto host = static_cast<in_addr_t>(1 + number % 250);
  sockaddr_in from{};
  from.sin_family = AF_INET;
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host);
  checked(bind(socket.get(), reinterpret_cast<sockaddr*>(&from), sizeof from), "bind a client");
}

int error_of(const Fd& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  checked(getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size), "read SO_ERROR");
  return error;
}

}  // namespace

HttpLoad::HttpLoad(const Settings& settings)
    : settings_(settings),
      server_(settings.server),
      poller_(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      visits_(settings.at_once),
      begun_(Clock::now()),
      thread_([this] { work(); }) {}

HttpLoad::~HttpLoad() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

HttpLoad::Outcome HttpLoad::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  const std::chrono::duration<double> took = ended_ - begun_;
  outcome_.rate = static_cast<double>(outcome_.made) / took.count();
  return outcome_;
}

void HttpLoad::begin() {
  const auto free = std::ranges::find_if(visits_, [](const Visit& each) { return !each.socket; });
  if (free == visits_.end()) return;
  Visit& visit = *free;
  visit = {.socket = Fd(
               checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket")),
           .begun = Clock::now()};
  bind_somewhere(visit.socket, outcome_.made);
  outcome_.made++;
  open_++;
  if (connect(visit.socket.get(), server_.get(), server_.size()) < 0 && errno != EINPROGRESS)
    return end(visit, errno);
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLET,
                    .data = {.u32 = static_cast<uint32_t>(free - visits_.begin())}};
  checked(epoll_ctl(poller_.get(), EPOLL_CTL_ADD, visit.socket.get(), &event), "epoll_ctl");
}

void HttpLoad::go_on(Visit& visit) {
  if (!visit.asked) {
    if (const int error = error_of(visit.socket)) return end(visit, error);
    const ssize_t sent = send(visit.socket.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
    if (sent < 0) return end(visit, errno);
    visit.asked = true;
  }
  std::array<char, 2048> part;
  for (;;) {
    const ssize_t size = recv(visit.socket.get(), part.data(), part.size(), 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return end(visit, size < 0 ? errno : 0);
    visit.good |= std::string_view(part.data(), static_cast<size_t>(size)).find(kGood) !=
                  std::string_view::npos;
  }
}

void HttpLoad::end(Visit& visit, int error) {
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - visit.begun);
  outcome_.slowest = std::max(outcome_.slowest, took);
  if (error != 0 || !visit.good) lost_++;
  if (error == 0 && visit.good)
    outcome_.answered++;
  else if (error == ECONNRESET || error == EPIPE)
    outcome_.resets++;
  else if (error == ECONNREFUSED)
    outcome_.refused++;
  else if (error == ETIMEDOUT)
    outcome_.timeouts++;
  else
    outcome_.other++;
  visit.socket.reset();
  open_--;
}

void HttpLoad::wait_for_events(Clock::duration limit) {
  std::array<epoll_event, 256> events;
  const auto deadline = Clock::now() + limit;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    const int ready = epoll_wait(poller_.get(), events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    for (int i = 0; i < checked(ready, "epoll_wait"); i++) {
      Visit& visit = visits_[events[static_cast<size_t>(i)].data.u32];
      if (visit.socket) go_on(visit);
    }
  } while (Clock::now() < deadline);
}

void HttpLoad::give_up(Clock::time_point now) {
  for (Visit& visit : visits_) {
    if (visit.socket && now - visit.begun >= settings_.patience) end(visit, ETIMEDOUT);
  }
}

void HttpLoad::work() {
  double due = 0;
  const double limit = settings_.rate / 10.0;
  auto last = Clock::now();
  while (!stopping_) {
    wait_for_events(kTick);
    const auto now = Clock::now();
    due = std::min(due + settings_.rate * std::chrono::duration<double>(now - last).count(), limit);
    last = now;
    give_up(now);
    for (; due >= 1 && open_ < settings_.at_once; due--) begin();
  }
  ended_ = Clock::now();
  while (open_ > 0) {
    wait_for_events(kTick);
    give_up(Clock::now());
  }
}

}  // namespace subset::test
