// SPDX-License-Identifier: MIT
#include "shim/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "protocol/socket_name.h"
#include "shim/process.h"
#include "shim/real.h"

namespace subset::shim {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kPatience = kSecond;           // for a whole exchange
constexpr int64_t kImpatientFor = 10 * kSecond;  // after a daemon did not answer in time

// Until then nobody waits for replies: a server with a thousand sockets in front of a daemon that
// hangs loses one second, not a thousand. (With SUBSET_FALLBACK=fail its first one is its last.)
constinit std::atomic<int64_t> impatient_until{0};

int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

// The descriptor of the exchange, and the time that is left for it.
class Connection {
 public:
  explicit Connection(bool patient)
      : patient_(patient),
        deadline_(now() + kPatience),
        fd_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (patient ? 0 : SOCK_NONBLOCK), 0)) {}
  ~Connection() {
    if (fd_ >= 0) real::close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int open() const;
  int send(const void* message, size_t size, int passed) const;
  int receive(protocol::Reply& reply, int* received) const;

 private:
  template <typename Call>
  ssize_t bounded(int timeout_option, Call call) const;
  int reach(const sockaddr_un& address, socklen_t length) const;
  bool is_with_root() const;

  bool patient_;
  int64_t deadline_;
  int fd_;
};

// Limits a call by the time left (SO_SNDTIMEO, which connect obeys too, or SO_RCVTIMEO: no other
// kind of system call is needed), again after each signal. A call that ran out of it fails with
// ETIMEDOUT.
template <typename Call>
ssize_t Connection::bounded(int timeout_option, Call call) const {
  for (;;) {
    const int64_t left = deadline_ - now();
    if (left <= 0) {
      errno = ETIMEDOUT;
      return -1;
    }
    // At least a microsecond: 0 would mean for ever.
    const timeval limit = {.tv_sec = left / kSecond, .tv_usec = left % kSecond / 1000 + 1};
    if (patient_) real::setsockopt(fd_, SOL_SOCKET, timeout_option, &limit, sizeof limit);
    const ssize_t result = call();
    if (result < 0 && errno == EINTR) continue;
    if (result < 0 && errno == EAGAIN) errno = ETIMEDOUT;
    return result;
  }
}

// Blocks while the daemon's backlog is full: EAGAIN, by the timeout, if it stays so.
int Connection::reach(const sockaddr_un& address, socklen_t length) const {
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  const auto result = bounded(SO_SNDTIMEO, [&] { return real::connect(fd_, name, length); });
  return result == 0 ? 0 : errno;
}

// Anybody can take a name before the daemon does, and would be handed sockets.
bool Connection::is_with_root() const {
  ucred peer{};
  socklen_t length = sizeof peer;
  return real::getsockopt(fd_, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
}

// After a chroot the path leads nowhere, but the name is the same.
int Connection::open() const {
  if (fd_ < 0) return errno;
  const char* path = process.settings.socket_path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, sizeof address.sun_path);
  const int error = reach(address, sizeof address);
  if (error != ENOENT) return error;
  const socklen_t length = protocol::name_of_path(path, address);
  return length != 0 && reach(address, length) == 0 && is_with_root() ? 0 : error;
}

int Connection::send(const void* message, size_t size, int passed) const {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof passed)] = {};
  iovec part = {.iov_base = const_cast<void*>(message), .iov_len = size};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof passed);
  memcpy(CMSG_DATA(rights), &passed, sizeof passed);
  const auto sent = bounded(SO_SNDTIMEO, [&] { return sendmsg(fd_, &header, MSG_NOSIGNAL); });
  return sent >= 0 ? 0 : errno;
}

bool well_formed(const protocol::Reply& reply, ssize_t size) {
  const protocol::Header expected = protocol::Reply{}.header;
  return size == sizeof reply && !memcmp(&reply.header, &expected, sizeof expected) &&
         reply.error >= 0;
}

// There is room for as many descriptors as are expected, one or none: what a liar sends along
// beyond that is dropped by the kernel, and the one is not believed. MSG_TRUNC makes a packet that
// is too long show its length.
ssize_t receive_packet(int fd, protocol::Reply& reply, int* received) {
  alignas(cmsghdr) char control[CMSG_LEN(sizeof(int))] = {};
  iovec part = {.iov_base = &reply, .iov_len = sizeof reply};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t size = real::recvmsg(fd, &header, MSG_TRUNC | MSG_CMSG_CLOEXEC);
  const cmsghdr* rights = size >= 0 ? CMSG_FIRSTHDR(&header) : nullptr;
  if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
      rights->cmsg_len == CMSG_LEN(sizeof *received))
    memcpy(received, CMSG_DATA(rights), sizeof *received);
  if (*received >= 0 && (header.msg_flags & MSG_CTRUNC)) {
    real::close(*received);
    *received = -1;
  }
  return size;
}

int Connection::receive(protocol::Reply& reply, int* received) const {
  const auto size = bounded(SO_RCVTIMEO, [&] {
    return received ? receive_packet(fd_, reply, received)
                    : real::recv(fd_, &reply, sizeof reply, MSG_TRUNC);
  });
  if (size < 0) return errno;
  if (size == 0) return ECONNRESET;
  if (!well_formed(reply, size)) return EPROTO;
  reply.text[sizeof reply.text - 1] = '\0';
  return 0;
}

int exchange(const Connection& connection, const void* message, size_t size, int fd) {
  if (const int error = connection.open()) return error;
  return connection.send(message, size, fd);
}

bool is_patient() {
  return process.settings.fallback == Fallback::Fail ||
         now() >= impatient_until.load(std::memory_order_relaxed);
}

void note_silence(int error) {
  if (error == ETIMEDOUT) impatient_until.store(now() + kImpatientFor, std::memory_order_relaxed);
}

}  // namespace

int ask(const void* message, size_t size, int fd, protocol::Reply& reply) {
  const bool patient = is_patient();
  const Connection connection(patient);
  int error = exchange(connection, message, size, fd);
  if (error == 0) error = patient ? connection.receive(reply, nullptr) : ETIMEDOUT;
  if (patient) note_silence(error);
  return error;
}

int ask_for_socket(const void* message, size_t size, int fd, protocol::Reply& reply,
                   int& received) {
  received = -1;
  if (!is_patient()) return ETIMEDOUT;
  const Connection connection(true);
  int error = exchange(connection, message, size, fd);
  if (error == 0) error = connection.receive(reply, &received);
  if (error != 0 && received >= 0) {
    real::close(received);
    received = -1;
  }
  note_silence(error);
  return error;
}

int ask_of(protocol::Kind kind, uint32_t flags, int fd, protocol::Reply& reply) {
  const protocol::OfSocket message{.header = {.kind = kind, .size = sizeof message},
                                   .flags = flags};
  return ask(&message, sizeof message, fd, reply);
}

bool daemon_answers(int fd) {
  protocol::Reply reply;
  return ask_of(protocol::Kind::Query, 0, fd, reply) == 0;
}

}  // namespace subset::shim
