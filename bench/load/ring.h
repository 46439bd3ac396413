// SPDX-License-Identifier: MIT
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/base/result.h"

namespace subset::bench {

// An io_uring for one thread, with buffers that the kernel fills as data arrives.
class Ring {
 public:
  // `buffers`: how many of buffer_bytes each, a power of two; 0: none.
  static Result<std::unique_ptr<Ring>> create(unsigned entries, unsigned buffers,
                                              unsigned buffer_bytes);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Never null: submits first where the queue is full.
  io_uring_sqe* entry();

  // Submits, and waits for a completion or for so long.
  void wait(uint64_t nanoseconds);
  // handle(cqe) for each completion that is there.
  template <typename Handler>
  void complete(Handler handle) {
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      handle(*cqe);
      seen++;
    }
    io_uring_cq_advance(&ring_, seen);
  }

  static constexpr unsigned kBufferGroup = 1;
  const char* buffer(const io_uring_cqe& cqe) const;
  void give_back(const io_uring_cqe& cqe);

 private:
  Ring() = default;
  Result<void> provide_buffers(unsigned count, unsigned bytes);

  io_uring ring_{};
  bool made_ = false;
  io_uring_buf_ring* buffer_ring_ = nullptr;
  unsigned buffer_count_ = 0;
  unsigned buffer_bytes_ = 0;
  std::vector<char> storage_;
};

}  // namespace subset::bench
