// SPDX-License-Identifier: MIT
// The sockets that declared themselves by SO_SUBSET, or joined a group: a fixed table, keyed by
// SO_COOKIE, without locks, so that threads, signal handlers and vfork children may use it. When it
// is full the oldest entry gives way; what is lost with it is in the daemon's keeping too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace subset::shim {

struct Known {
  static constexpr uint32_t kDeclared = 1u << 0;  // by SO_SUBSET; else it follows the environment
  static constexpr uint32_t kMember = 1u << 1;    // shares its port, by the daemon or by the kernel
  static constexpr uint32_t kAnyAddress = 1u << 2;  // became a member bound to 0.0.0.0 or ::
  static constexpr uint32_t kWaits = 1u << 3;       // takes its instance over at its first use

  uint32_t total = 0;     // 0: declared to be in no subset
  uint32_t instance = 0;  // as it was asked for
  uint32_t assigned = 0;  // as it was given
  uint32_t flags = 0;

  bool has(uint32_t flag) const { return flags & flag; }
};

class KnownSockets {
 public:
  static constexpr size_t kCapacity = 4096;

  // Both ignore cookie 0, which no socket has.
  bool find(uint64_t cookie, Known& known) const;
  void put(uint64_t cookie, const Known& known);

  void forget(uint64_t cookie);

 private:
  struct Entry {
    std::atomic<uint64_t> cookie;  // 0: free
    std::atomic<uint64_t> asked;   // total and instance in one word: they change together
    std::atomic<uint64_t> given;   // assigned and flags, likewise
  };

  Entry* entry_of(uint64_t cookie);
  size_t used() const;

  std::atomic<size_t> taken_{0};  // entries ever taken; the next one is taken_ % kCapacity
  Entry entries_[kCapacity] = {};
};

extern KnownSockets known_sockets;

}  // namespace subset::shim
