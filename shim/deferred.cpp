// SPDX-License-Identifier: MIT
#include "shim/deferred.h"

namespace subset::shim {

constinit DeferredSockets deferred_sockets;

bool DeferredSockets::find(int fd, Deferred& deferred) const {
  if (!has(fd)) return false;
  const Entry& entry = entries_[fd];
  deferred = {.cookie = entry.cookie.load(std::memory_order_acquire),
              .generation = entry.generation.load(std::memory_order_relaxed),
              .backlog = entry.backlog.load(std::memory_order_relaxed)};
  return deferred.cookie != 0;
}

bool DeferredSockets::put(int fd, const Deferred& deferred) {
  if (!in_range(fd)) return false;
  Entry& entry = entries_[fd];
  entry.generation.store(deferred.generation, std::memory_order_relaxed);
  entry.backlog.store(deferred.backlog, std::memory_order_relaxed);
  if (entry.cookie.exchange(deferred.cookie, std::memory_order_release) == 0)
    count_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void DeferredSockets::drop(int fd) {
  if (!in_range(fd)) return;
  if (entries_[fd].cookie.exchange(0, std::memory_order_release) != 0)
    count_.fetch_sub(1, std::memory_order_relaxed);
  release(fd);
}

bool DeferredSockets::claim(int fd) {
  return has(fd) && !entries_[fd].claimed.exchange(true, std::memory_order_acquire);
}

void DeferredSockets::release(int fd) {
  if (in_range(fd)) entries_[fd].claimed.store(false, std::memory_order_release);
}

}  // namespace subset::shim
