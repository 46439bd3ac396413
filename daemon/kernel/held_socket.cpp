// SPDX-License-Identifier: MIT
#include "daemon/kernel/held_socket.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <array>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72  // Linux 5.15
#endif

namespace subset::kernel {
namespace {

constexpr int kReceiveLock = 2;  // SOCK_RCVBUF_LOCK of the kernel

// Before 5.15 the kernel does not tell whether a buffer was asked for: then it was not.
int locks_of(int socket) {
  int locks = 0;
  socklen_t size = sizeof locks;
  return getsockopt(socket, SOL_SOCKET, SO_BUF_LOCK, &locks, &size) == 0 ? locks : 0;
}

}  // namespace

Result<ReceiveBuffer> receive_buffer_of(int socket) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  if (getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0)
    return fail_errno("read SO_RCVBUF");
  return ReceiveBuffer{.bytes = static_cast<uint32_t>(bytes),
                       .locked = (locks_of(socket) & kReceiveLock) != 0};
}

Result<void> set_receive_buffer(int socket, uint32_t bytes) {
  if (setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
    return fail_errno("set SO_RCVBUFFORCE");
  return {};
}

// Setting a size locks it.
Result<void> restore_receive_buffer(int socket, const ReceiveBuffer& wanted) {
  if (auto set = set_receive_buffer(socket, wanted.bytes / 2); !set) return set;
  if (wanted.locked) return {};
  const int locks = locks_of(socket) & ~kReceiveLock;
  (void)setsockopt(socket, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof locks);
  return {};
}

uint64_t queued_bytes(int socket) {
  std::array<uint32_t, SK_MEMINFO_VARS> account{};
  socklen_t size = sizeof account;
  if (getsockopt(socket, SOL_SOCKET, SO_MEMINFO, account.data(), &size) != 0) return 0;
  return account[SK_MEMINFO_RMEM_ALLOC];
}

Result<void> set_backlog(int listener, int connections) {
  if (listen(listener, connections) != 0) return fail_errno("listen with a larger backlog");
  return {};
}

}  // namespace subset::kernel
