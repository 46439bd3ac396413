// SPDX-License-Identifier: MIT
// Sockets with which something waits for their first use, by descriptor number: a fixed table
// without locks. A number is only a hint, since close and reuse go unseen: whoever acts on an entry
// compares its cookie first.
#pragma once

#include <atomic>
#include <cstdint>

namespace subset::shim {

struct Deferred {
  // Of a descriptor that has just come by SCM_RIGHTS, of which nothing was asked yet.
  static constexpr uint64_t kUnknown = UINT64_MAX;

  uint64_t cookie = 0;      // the socket that was behind the number; or kUnknown
  uint32_t generation = 0;  // of the process whose own the socket is (spread.cpp)
  int backlog = 0;          // of a listen that was put off
};

class DeferredSockets {
 public:
  // Servers open their sockets early; one on a higher number is not deferred.
  static constexpr int kNumbers = 4096;

  static bool in_range(int fd) { return fd >= 0 && fd < kNumbers; }

  // What each interposed call asks: a relaxed load where nothing is deferred, two where it is.
  bool any() const { return count_.load(std::memory_order_relaxed) != 0; }
  bool has(int fd) const {
    return any() && in_range(fd) && entries_[fd].cookie.load(std::memory_order_relaxed) != 0;
  }

  bool find(int fd, Deferred& deferred) const;
  // False where the number is too high.
  bool put(int fd, const Deferred& deferred);
  void drop(int fd);

  // One thread alone gets to act on an entry, until it drops or releases it.
  bool claim(int fd);
  void release(int fd);

 private:
  struct Entry {
    std::atomic<uint64_t> cookie;  // 0: free
    std::atomic<uint32_t> generation;
    std::atomic<int> backlog;
    std::atomic<bool> claimed;
  };

  std::atomic<uint32_t> count_{0};
  Entry entries_[kNumbers] = {};
};

extern DeferredSockets deferred_sockets;

}  // namespace subset::shim
