// SPDX-License-Identifier: MIT
// A listener leaves its group before it is closed. The kernel migrates the connections of a
// listener that closes (net.ipv4.tcp_migrate_req, or a program of ours), but for those whose last
// ACK of the handshake is being worked on: between the look at the listener's state (tcp_v4_rcv)
// and the place in its queue (inet_csk_reqsk_queue_add, __inet_inherit_port) lie a few
// microseconds, and who finds the listener closed there is reset. Under load that is one connection
// in some hundred closes. A listener that is not picked any more has none.
//
// Seen are close and shutdown by the process that made the listener a member. That of a process
// which ends without, or is killed, is closed by the kernel.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <atomic>

namespace subset::shim {

// The numbers of listeners that are members: a fixed table without locks. A number is only a hint,
// as in deferred.h.
class Listeners {
 public:
  static constexpr int kNumbers = 4096;  // one on a higher number is closed without a farewell

  // What each close and shutdown asks: a relaxed load where there is no listener, two where one is.
  bool has(int fd) const {
    return count_.load(std::memory_order_relaxed) != 0 && fd >= 0 && fd < kNumbers &&
           owners_[fd].load(std::memory_order_relaxed) != 0;
  }

  // Of this process.
  void put(int fd);
  // Forgets the number. False, and nothing is forgotten, where the listener is another process': a
  // forked child closes its copy, or the child of a vfork, which has its parent's memory.
  bool take(int fd);
  void move(int from, int to);

 private:
  std::atomic<int> count_{0};
  std::atomic<pid_t> owners_[kNumbers] = {};  // 0: none
};

extern Listeners listeners;

// Before close: unless others have the socket too. Whatever happens, the close goes on.
void leave_before_close(int fd);

// Before shutdown, which ends a listener for all who have it.
void leave_before_shutdown(int fd, int how);

// The program is about to call prctl. After a seccomp filter of its own making it may die of any
// call of ours. PR_SET_NO_NEW_PRIVS is a sign too: of a filter that seccomp(2) will install.
void note_prctl(int option);

}  // namespace subset::shim
