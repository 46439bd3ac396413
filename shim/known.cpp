// SPDX-License-Identifier: MIT
#include "shim/known.h"

namespace subset::shim {

constinit KnownSockets known_sockets;

namespace {

uint64_t pack(uint32_t high, uint32_t low) {
  return static_cast<uint64_t>(high) << 32 | low;
}

uint32_t high_of(uint64_t both) {
  return static_cast<uint32_t>(both >> 32);
}

uint32_t low_of(uint64_t both) {
  return static_cast<uint32_t>(both);
}

}  // namespace

size_t KnownSockets::used() const {
  const size_t taken = taken_.load(std::memory_order_acquire);
  return taken < kCapacity ? taken : kCapacity;
}

KnownSockets::Entry* KnownSockets::entry_of(uint64_t cookie) {
  for (size_t i = 0, n = used(); i < n; ++i)
    if (entries_[i].cookie.load(std::memory_order_acquire) == cookie) return &entries_[i];
  return nullptr;
}

bool KnownSockets::find(uint64_t cookie, Known& known) const {
  const Entry* entry = cookie ? const_cast<KnownSockets*>(this)->entry_of(cookie) : nullptr;
  if (!entry) return false;
  const uint64_t asked = entry->asked.load(std::memory_order_relaxed);
  const uint64_t given = entry->given.load(std::memory_order_relaxed);
  // Another thread may have recycled the entry meanwhile: a cookie is never used twice, so that the
  // same cookie before and after means that what was read between is this socket's.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (entry->cookie.load(std::memory_order_relaxed) != cookie) return false;
  known = {high_of(asked), low_of(asked), high_of(given), low_of(given)};
  return true;
}

void KnownSockets::put(uint64_t cookie, const Known& known) {
  if (!cookie) return;
  Entry* entry = entry_of(cookie);
  const bool fresh = !entry;
  if (fresh) {
    entry = &entries_[taken_.fetch_add(1, std::memory_order_acq_rel) % kCapacity];
    entry->cookie.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  entry->asked.store(pack(known.total, known.instance), std::memory_order_relaxed);
  entry->given.store(pack(known.assigned, known.flags), std::memory_order_relaxed);
  if (fresh) entry->cookie.store(cookie, std::memory_order_release);
}

// Two threads that put one socket at the same time may have made two entries.
void KnownSockets::forget(uint64_t cookie) {
  if (!cookie) return;
  while (Entry* entry = entry_of(cookie)) entry->cookie.store(0, std::memory_order_release);
}

}  // namespace subset::shim
