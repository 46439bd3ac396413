// SPDX-License-Identifier: MIT
#include "bench/load/ring.h"

#include <sys/mman.h>

#include <cstdlib>

namespace subset::bench {
namespace {

// Completions are worked off when the thread asks for them and never interrupt it: from Linux 6.1
// on.
constexpr unsigned kQuiet = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(unsigned entries, unsigned buffers,
                                           unsigned buffer_bytes) {
  std::unique_ptr<Ring> ring(new Ring);
  int made = -EINVAL;
  for (const unsigned flags : {kQuiet, 0u}) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = entries * 8;
    made = io_uring_queue_init_params(entries, &ring->ring_, &params);
    if (made != -EINVAL) break;
  }
  if (made < 0) return fail_system(-made, "make an io_uring");
  ring->made_ = true;
  if (buffers != 0) {
    if (auto done = ring->provide_buffers(buffers, buffer_bytes); !done)
      return tl::unexpected(done.error());
  }
  return ring;
}

Result<void> Ring::provide_buffers(unsigned count, unsigned bytes) {
  void* memory = mmap(nullptr, count * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                      MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
  if (memory == MAP_FAILED) return fail_errno("memory for the ring's buffers");
  buffer_ring_ = static_cast<io_uring_buf_ring*>(memory);
  buffer_count_ = count;
  buffer_bytes_ = bytes;
  storage_.resize(size_t{count} * bytes);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(memory);
  registration.ring_entries = count;
  registration.bgid = kBufferGroup;
  if (const int done = io_uring_register_buf_ring(&ring_, &registration, 0); done < 0)
    return fail_system(-done, "register the ring's buffers");
  io_uring_buf_ring_init(buffer_ring_);
  for (unsigned i = 0; i < count; i++) {
    io_uring_buf_ring_add(buffer_ring_, &storage_[size_t{i} * bytes], bytes,
                          static_cast<unsigned short>(i), io_uring_buf_ring_mask(count),
                          static_cast<int>(i));
  }
  io_uring_buf_ring_advance(buffer_ring_, static_cast<int>(count));
  return {};
}

Ring::~Ring() {
  if (made_) io_uring_queue_exit(&ring_);
  if (buffer_ring_) munmap(buffer_ring_, buffer_count_ * sizeof(io_uring_buf));
}

io_uring_sqe* Ring::entry() {
  io_uring_sqe* sqe = nullptr;
  while (!(sqe = io_uring_get_sqe(&ring_))) io_uring_submit(&ring_);
  return sqe;
}

void Ring::wait(uint64_t nanoseconds) {
  __kernel_timespec limit{};
  limit.tv_sec = static_cast<int64_t>(nanoseconds / 1'000'000'000u);
  limit.tv_nsec = static_cast<long long>(nanoseconds % 1'000'000'000u);
  io_uring_cqe* first = nullptr;
  io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
}

const char* Ring::buffer(const io_uring_cqe& cqe) const {
  return &storage_[size_t{cqe.flags >> IORING_CQE_BUFFER_SHIFT} * buffer_bytes_];
}

void Ring::give_back(const io_uring_cqe& cqe) {
  const unsigned index = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
  io_uring_buf_ring_add(buffer_ring_, &storage_[size_t{index} * buffer_bytes_], buffer_bytes_,
                        static_cast<unsigned short>(index), io_uring_buf_ring_mask(buffer_count_),
                        0);
  io_uring_buf_ring_advance(buffer_ring_, 1);
}

}  // namespace subset::bench
