// SPDX-License-Identifier: MIT
#include "tests/system/harness/load.h"

#include <errno.h>

#include "tests/system/harness/clock.h"

namespace subset::test {

Load::Load(std::function<bool()> ask, size_t clients) : ask_(std::move(ask)) {
  for (size_t i = 0; i < clients; i++) threads_.emplace_back([this] { work(); });
}

Load::~Load() {
  stop();
}

void Load::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Load::wait_for(size_t goal) const {
  eventually([&] { return answered_ >= goal; }, 60s);
}

void Load::work() {
  while (!stopping_) {
    errno = 0;
    if (ask_()) {
      ++answered_;
    } else {
      ++failed_;
      error_ = errno;
    }
  }
}

}  // namespace subset::test
