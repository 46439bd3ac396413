// SPDX-License-Identifier: MIT
// Clients that ask one question after the other until they are stopped.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace subset::test {

class Load {
 public:
  // `ask` is called by all clients at once: was it answered?
  explicit Load(std::function<bool()> ask, size_t clients = 1);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void stop();
  // Both return after a minute at the latest.
  void wait_answers(size_t more) const { wait_for(answered_ + more); }
  void wait_for(size_t goal) const;

  size_t answered() const { return answered_; }
  size_t failed() const { return failed_; }
  // errno of one that failed; 0: it was closed before there was a whole answer.
  int error() const { return error_; }

 private:
  void work();

  std::function<bool()> ask_;
  std::atomic<bool> stopping_ = false;
  std::atomic<size_t> answered_ = 0;
  std::atomic<size_t> failed_ = 0;
  std::atomic<int> error_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace subset::test
