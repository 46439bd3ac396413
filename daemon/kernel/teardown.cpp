// SPDX-License-Identifier: MIT
// First the stages are emptied: from that store on the kernel's hash decides, group by group. Then
// the programs that are left without a purpose are detached, through the servers' own sockets.
#include "daemon/kernel/teardown.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/kernel/pins.h"
#include "daemon/kernel/process.h"
#include "daemon/kernel/steering.h"
#include "daemon/kernel/watch.h"

#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

namespace subset::kernel {
namespace {

std::optional<uint64_t> cookie_of(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return std::nullopt;
  return cookie;
}

// Detaches through the descriptors of one process; the cookies of the sockets that it had.
std::set<uint64_t> detach_in(pid_t pid, const std::set<uint64_t>& wanted) {
  std::set<uint64_t> done;
  const auto process = open_pidfd(pid);
  if (!process) return done;
  for (const std::string& name : Pins::names("/proc/" + std::to_string(pid) + "/fd")) {
    int number = -1;
    std::from_chars(name.data(), name.data() + name.size(), number);
    const Fd copy(static_cast<int>(syscall(SYS_pidfd_getfd, process->get(), number, 0)));
    if (!copy) continue;
    const auto cookie = cookie_of(copy.get());
    if (!cookie || !wanted.count(*cookie)) continue;
    int unused = 0;
    // ENOENT: another member of its group was here before.
    if (setsockopt(copy.get(), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof unused) == 0 ||
        errno == ENOENT)
      done.insert(*cookie);
  }
  return done;
}

// Who has a socket that is tagged, whether it registered it or got it from somebody who did.
std::map<pid_t, std::set<uint64_t>> holders(const Watch& watch, const std::set<uint64_t>& tagged) {
  std::map<pid_t, std::set<uint64_t>> found;
  const auto descriptors = watch.find_on_managed_ports();
  if (!descriptors) return found;
  for (const subset_found& descriptor : *descriptors) {
    if (descriptor.pid > 0 && tagged.count(descriptor.cookie))
      found[descriptor.pid].insert(descriptor.cookie);
  }
  return found;
}

void detach_members(const Watch& watch, TornDown& result) {
  const auto samples = watch.sample();
  if (!samples) return;
  std::set<uint64_t> tagged;
  for (const subset_sample& sample : *samples) tagged.insert(sample.cookie);
  std::set<uint64_t> detached;
  for (const auto& [pid, cookies] : holders(watch, tagged)) detached.merge(detach_in(pid, cookies));
  result.sockets = tagged.size();
  result.detached = detached.size();
}

subset_managed port_of(const RecordHead& head) {
  return {.netns_cookie = head.netns_cookie, .port = head.port, .protocol = head.protocol};
}

// What is broken about a group does not keep it: its pins go all the same.
Result<void> take_groups_down(const Pins& pins, Watch& watch, TornDown& result) {
  for (const uint64_t serial : pins.group_serials()) {
    ++result.groups;
    auto steering = Steering::adopt(pins, watch, serial);
    if (!steering) continue;
    if (auto released = (*steering)->release(); !released) return released;
    if (const auto record = (*steering)->read_record(); record)
      (void)watch.manage(port_of(record->head));
  }
  detach_members(watch, result);
  return {};
}

Result<void> remove_pins(const Pins& pins, const std::string& dir) {
  for (const uint64_t serial : pins.group_serials()) {
    if (auto removed = Pins::remove_dir(pins.group_dir(serial)); !removed) return removed;
  }
  if (auto removed = Pins::remove_dir(pins.root()); !removed) return removed;
  if (rmdir(dir.c_str()) != 0 && errno != ENOENT && errno != EBUSY)  // EBUSY: mounted there
    return fail_errno("remove " + dir);
  return {};
}

}  // namespace

Result<TornDown> tear_down(const std::string& dir) {
  auto pins = Pins::find(dir);
  if (!pins && pins.error().code == EBUSY)
    return fail(EBUSY, "a daemon works on " + dir +
                           ": stop it first, with systemctl stop subsetd.socket subsetd.service");
  if (!pins) return tl::unexpected(pins.error());
  TornDown result;
  if (!*pins) return result;
  {
    auto watch = Watch::open(**pins);
    if (!watch) return tl::unexpected(watch.error());
    if (auto done = take_groups_down(**pins, **watch, result); !done)
      return tl::unexpected(done.error());
  }
  if (auto removed = remove_pins(**pins, dir); !removed) return tl::unexpected(removed.error());
  return result;
}

}  // namespace subset::kernel
