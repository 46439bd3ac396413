// SPDX-License-Identifier: MIT
// The daemon's event loop, on io_uring. One thread; handlers run to completion, one after another.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset {

class Loop {
 public:
  using Duration = std::chrono::nanoseconds;
  // `events` are poll(2) bits: what is ready.
  using Ready = std::function<void(uint32_t events)>;

  // Cancels its watch or timer when it is destroyed; may be destroyed inside its own handler. Safe
  // after the Loop is gone.
  class [[nodiscard]] Handle {
   public:
    Handle() = default;
    Handle(Handle&& other) noexcept;
    Handle& operator=(Handle&& other) noexcept;
    ~Handle();
    void reset();
    explicit operator bool() const { return id_ != 0; }

   private:
    friend class Loop;
    struct Core;
    Handle(std::weak_ptr<Core> core, uint64_t id) : core_(std::move(core)), id_(id) {}
    std::weak_ptr<Core> core_;
    uint64_t id_ = 0;
  };

  // Errors: ENOSYS or EPERM where io_uring is not to be had (kernel.io_uring_disabled).
  static Result<std::unique_ptr<Loop>> create();
  ~Loop();

  // Calls `ready` each time that fd is (level-triggered) ready for one of `events`. The caller
  // keeps the fd open until the Handle is gone; one that is not open gets POLLNVAL, once.
  Handle watch(int fd, uint32_t events, Ready ready);

  // Once, after `delay`; or again and again, every `period`.
  Handle after(Duration delay, std::function<void()> call);
  Handle every(Duration period, std::function<void()> call);

  // Calls at the end of this round, before the loop sleeps again: where work that many events of
  // one round asked for is done once.
  void at_end_of_round(std::function<void()> call);

  // Closes on a worker of the kernel. For descriptors that came from a stranger: their close may
  // wait (FUSE answers a flush when it likes, SO_LINGER waits for the other end). One that the
  // worker has not got to when the Loop goes may stay open until the process ends.
  void close_aside(Fd fd);

  // Runs until stop(); one called while nothing runs ends the next run at its first round. Errors
  // of the ring itself end it too.
  Result<void> run();
  void stop();

 private:
  explicit Loop(std::shared_ptr<Handle::Core> core);
  std::shared_ptr<Handle::Core> core_;
};

}  // namespace subset
