// SPDX-License-Identifier: MIT
#include "shim/farewell.h"

#include <linux/prctl.h>
#include <unistd.h>

#include "protocol/message.h"
#include "shim/client.h"
#include "shim/join.h"
#include "shim/known.h"
#include "shim/log.h"
#include "shim/real.h"
#include "shim/socket.h"

namespace subset::shim {
namespace {

constinit std::atomic<bool> confined{false};

// A listener that was sent to a daemon that hangs would be open, and get connections, until that
// one reads or dies, though its process has closed it. So another socket goes first.
bool daemon_would_answer() {
  const int nobodys = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (nobodys < 0) return false;
  const bool answers = daemon_answers(nobodys);
  real::close(nobodys);
  return answers;
}

void say_farewell(int fd, uint32_t flags) {
  Socket socket;
  Known known;
  if (confined.load(std::memory_order_relaxed) || !listeners.take(fd) ||
      !find_member(fd, socket, known) || !daemon_would_answer())
    return;
  protocol::Reply reply;
  if (ask_of(protocol::Kind::Leave, flags, fd, reply) != 0) return;
  if (reply.error != 0) {
    Line(LogLevel::Debug) << reply.text;
    return;
  }
  known.flags &= ~Known::kMember;
  known_sockets.put(socket.cookie, known);
}

}  // namespace

constinit Listeners listeners;

void Listeners::put(int fd) {
  if (fd < 0 || fd >= kNumbers) return;
  if (owners_[fd].exchange(getpid(), std::memory_order_relaxed) == 0)
    count_.fetch_add(1, std::memory_order_relaxed);
}

bool Listeners::take(int fd) {
  pid_t own = getpid();
  if (!has(fd) || !owners_[fd].compare_exchange_strong(own, 0, std::memory_order_relaxed))
    return false;
  count_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

void Listeners::move(int from, int to) {
  if (take(from)) put(to);
}

void leave_before_close(int fd) {
  say_farewell(fd, protocol::kLastOnly);
}

void leave_before_shutdown(int fd, int how) {
  if (how == SHUT_RD || how == SHUT_RDWR) say_farewell(fd, 0);
}

void note_prctl(int option) {
  if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP)
    confined.store(true, std::memory_order_relaxed);
}

}  // namespace subset::shim
