// SPDX-License-Identifier: MIT
// Network namespaces with nothing but a loopback that is up: 127.0.0.1 and ::1.
#pragma once

#include <sys/types.h>

#include <functional>

#include "daemon/base/fd.h"

namespace subset::test {

// Moves the calling thread, and what it starts from now on, into a new one.
void enter_new_network();

// One beside that of the test.
class OtherNetwork {
 public:
  OtherNetwork();

  int fd() const { return namespace_.get(); }
  ino_t inode() const;
  // Runs `body` in it, on a thread of its own, to its end; sockets that it opens stay there.
  void run(const std::function<void()>& body) const;

 private:
  Fd namespace_;
};

// That of the calling thread.
ino_t network_inode();

}  // namespace subset::test
