// SPDX-License-Identifier: MIT
// The search for strangers: seldom where it is dear. It costs about a microsecond a descriptor of
// the whole machine, so the pause after a search is a multiple of what the search took. Whoever is
// seen once may have bound and be about to join; a second look soon after tells.
#include "daemon/model/strangers.h"

#include <time.h>

#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/groups/groups.h"

namespace subset {
namespace {

// The time that the daemon itself worked: on a busy machine a search takes longer, and costs no
// more.
std::chrono::nanoseconds time_worked() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

constexpr auto kShortestPause = std::chrono::milliseconds(1000);
constexpr auto kLongestPause = std::chrono::seconds(60);
constexpr int kPauseFactor = 100;  // at most one percent of a CPU
// After the first sight of somebody. Longer than a join takes on a busy machine.
constexpr auto kConfirmPause = std::chrono::milliseconds(400);

subset_managed port_of(const GroupKey& key) {
  return {.netns_cookie = key.netns_cookie,
          .port = key.port,
          .protocol = static_cast<uint8_t>(key.protocol),
          .padding = {}};
}

SocketOnPort socket_of(const subset_found& found) {
  SocketOnPort socket;
  socket.cookie = found.cookie;
  socket.family = static_cast<Family>(found.family);
  socket.uid = found.uid;
  std::copy(std::begin(found.address), std::end(found.address), socket.address.begin());
  return socket;
}

bool on_port_of(const subset_found& found, const GroupKey& key) {
  return found.netns_cookie == key.netns_cookie && found.port == key.port &&
         found.protocol == static_cast<uint8_t>(key.protocol);
}

// Takes away whom no search has seen before, and notes them as suspects. Are there any? `known` is
// sorted by cookie.
bool hold_back_suspects(std::vector<observe::Stranger>& strangers,
                        const std::vector<observe::Stranger>& known, std::set<Cookie>& suspects) {
  std::set<Cookie> now;
  std::erase_if(strangers, [&](const observe::Stranger& stranger) {
    const bool seen_before =
        suspects.contains(stranger.cookie) ||
        std::ranges::binary_search(known, stranger.cookie, {}, &observe::Stranger::cookie);
    if (!seen_before) now.insert(stranger.cookie);
    return !seen_before;
  });
  suspects = std::move(now);
  return !suspects.empty();
}

}  // namespace

void Groups::manage_port(const GroupKey& key) {
  if (auto managed = around_.watch->manage(port_of(key)); !managed)
    spdlog::warn("strangers on port {} will not be seen: {}", key.port, managed.error().message());
}

void Groups::unmanage_port(const GroupKey& key) {
  const auto shares = [&](const auto& entry) {
    const GroupKey& other = entry.second.key;
    return other != key && other.netns_cookie == key.netns_cookie && other.port == key.port &&
           other.protocol == key.protocol;
  };
  if (std::none_of(registry_.groups().begin(), registry_.groups().end(), shares))
    around_.watch->unmanage(port_of(key));
}

void Groups::look_for_strangers() {
  const auto start = time_worked();
  bool suspicious = false;
  if (!registry_.groups().empty()) {
    if (auto found = around_.watch->find_on_managed_ports())
      suspicious = compare_with_members(*found);
    else
      spdlog::error("{}", found.error().message());
  }
  auto pause = std::clamp<std::chrono::nanoseconds>((time_worked() - start) * kPauseFactor,
                                                    kShortestPause, kLongestPause);
  // Never twice in a row: who comes and goes all the time must not make this the rule.
  confirming_ = suspicious && !confirming_;
  if (confirming_) pause = kConfirmPause;
  search_ = loop_.after(pause, [this] { look_for_strangers(); });
}

// Has it seen somebody for the first time?
bool Groups::compare_with_members(const std::vector<subset_found>& found) {
  bool suspicious = false;
  for (const auto& [serial, group] : registry_.groups()) {
    std::vector<observe::Stranger> strangers;
    std::set<Cookie> seen;  // one socket may have many descriptors
    for (const subset_found& one : found) {
      if (!on_port_of(one, group.key) || registry_.with_member(one.cookie) ||
          parked_.count(one.cookie))
        continue;
      auto reason = strangeness(group, socket_of(one));
      if (!reason || !seen.insert(one.cookie).second) continue;
      strangers.push_back({.pid = one.pid,
                           .command = std::string(one.command),
                           .cookie = one.cookie,
                           .reason = *reason});
    }
    std::sort(strangers.begin(), strangers.end(),
              [](const auto& a, const auto& b) { return a.cookie < b.cookie; });
    auto runtime = runtimes_.find(serial);
    if (runtime == runtimes_.end()) continue;
    suspicious |=
        hold_back_suspects(strangers, runtime->second.strangers, runtime->second.suspects);
    report_strangers(group, runtime->second.strangers, std::move(strangers));
  }
  return suspicious;
}

// An alarm for each that is new; the list itself stays in sight until it is empty.
void Groups::report_strangers(const Group& group, std::vector<observe::Stranger>& known,
                              std::vector<observe::Stranger> strangers) {
  for (const observe::Stranger& stranger : strangers) {
    const auto same =
        std::lower_bound(known.begin(), known.end(), stranger,
                         [](const auto& a, const auto& b) { return a.cookie < b.cookie; });
    if (same != known.end() && *same == stranger) continue;
    spdlog::warn("{}: a stranger takes traffic: process {} ({}), {}", group.id, stranger.pid,
                 stranger.command, stranger.reason);
    tell_({.what = "stranger",
           .group = group.id,
           .pid = stranger.pid,
           .command = stranger.command,
           .detail = stranger.reason});
  }
  known = std::move(strangers);
}

}  // namespace subset
