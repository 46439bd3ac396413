// SPDX-License-Identifier: MIT
#include "shim/sibling.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim/client.h"
#include "shim/fallback.h"
#include "shim/farewell.h"
#include "shim/join.h"
#include "shim/real.h"

// Newer than the headers of the oldest libc that we build with.
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif

namespace subset::shim {
namespace {

struct Option {
  int level;
  int name;
};

// What can be read back and set again, buffers and owner apart. The order matters twice: linger and
// the like have none, but a device and a transparent socket decide what bind accepts, so that all
// of it comes before bind.
constexpr Option kOptions[] = {
    {SOL_SOCKET, SO_REUSEADDR},
    {SOL_SOCKET, SO_BINDTODEVICE},
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST},
    {SOL_SOCKET, SO_LINGER},
    {SOL_SOCKET, SO_OOBINLINE},
    {SOL_SOCKET, SO_PRIORITY},
    {SOL_SOCKET, SO_MARK},
    {SOL_SOCKET, SO_RCVLOWAT},
    {SOL_SOCKET, SO_RCVTIMEO},
    {SOL_SOCKET, SO_SNDTIMEO},
    {SOL_SOCKET, SO_TIMESTAMP},
    {SOL_SOCKET, SO_TIMESTAMPNS},
    {SOL_SOCKET, SO_TIMESTAMPING},
    {SOL_SOCKET, SO_BUSY_POLL},
    {SOL_SOCKET, SO_PREFER_BUSY_POLL},
    {SOL_SOCKET, SO_BUSY_POLL_BUDGET},
    {SOL_SOCKET, SO_DONTROUTE},
    {SOL_SOCKET, SO_NO_CHECK},
    {SOL_SOCKET, SO_RXQ_OVFL},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE},
    {SOL_SOCKET, SO_ZEROCOPY},
    {SOL_SOCKET, SO_MAX_PACING_RATE},
    {SOL_SOCKET, SO_TXREHASH},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVTTL},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_RECVOPTS},
    {IPPROTO_IP, IP_RETOPTS},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_RECVORIGDSTADDR},
    {IPPROTO_IP, IP_MTU_DISCOVER},
    {IPPROTO_IP, IP_FREEBIND},
    {IPPROTO_IP, IP_TRANSPARENT},
    {IPPROTO_IP, IP_MINTTL},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
    {IPPROTO_IP, IP_UNICAST_IF},
    {IPPROTO_IP, IP_MULTICAST_IF},
    {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_MULTICAST_LOOP},
    {IPPROTO_IP, IP_MULTICAST_ALL},
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {IPPROTO_IPV6, IPV6_RECVTCLASS},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, IPV6_RECVORIGDSTADDR},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    {IPPROTO_IPV6, IPV6_DONTFRAG},
    {IPPROTO_IPV6, IPV6_FREEBIND},
    {IPPROTO_IPV6, IPV6_TRANSPARENT},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL},
    {IPPROTO_IPV6, IPV6_MINHOPCOUNT},
    {IPPROTO_IPV6, IPV6_UNICAST_IF},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {IPPROTO_IPV6, IPV6_MULTICAST_ALL},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_CORK},
    {IPPROTO_TCP, TCP_MAXSEG},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_SYNCNT},
    {IPPROTO_TCP, TCP_LINGER2},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP},
    {IPPROTO_TCP, TCP_CONGESTION},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {IPPROTO_TCP, TCP_SAVE_SYN},
    {IPPROTO_TCP, TCP_INQ},
    {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_FASTOPEN_KEY},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE},
    {IPPROTO_UDP, UDP_CORK},
    {IPPROTO_UDP, UDP_NO_CHECK6_TX},
    {IPPROTO_UDP, UDP_NO_CHECK6_RX},
    {IPPROTO_UDP, UDP_SEGMENT},
    {IPPROTO_UDP, UDP_GRO},
};

constexpr socklen_t kLargestValue = 64;

struct Value {
  char bytes[kLargestValue] = {};
  socklen_t length = sizeof bytes;

  bool read(int fd, const Option& option) {
    return real::getsockopt(fd, option.level, option.name, bytes, &length) == 0;
  }
  bool operator==(const Value& other) const {
    return length == other.length && !memcmp(bytes, other.bytes, length);
  }
};

// An option that the kernel does not know, or does not let this process set, is not worth a worker.
void copy_option(int from, int to, const Option& option) {
  Value wanted;
  Value present;
  if (!wanted.read(from, option) || !present.read(to, option) || wanted == present) return;
  real::setsockopt(to, option.level, option.name, wanted.bytes, wanted.length);
}

// The kernel sizes buffers by itself until the application does; it doubles what it is told, and
// says which it was told (the bits of SO_BUF_LOCK).
void copy_buffer(int from, int to, int name, int forced) {
  const int size = int_option(from, name) / 2;
  real::setsockopt(to, SOL_SOCKET, name, &size, sizeof size);
  if (int_option(to, name) < 2 * size) real::setsockopt(to, SOL_SOCKET, forced, &size, sizeof size);
}

// The bits of SO_BUF_LOCK.
constexpr int kSendLock = 1;
constexpr int kReceiveLock = 2;

// The kernel lets sockets share a port only if they have one owner, which is whoever called
// socket(). A UDP socket of another owner may even be bound, if both have SO_REUSEADDR: in a group
// of its own, which takes all the traffic.
bool copy_owner(int from, int to) {
  struct stat wanted;
  struct stat present;
  if (fstat(from, &wanted) != 0 || fstat(to, &present) != 0) return false;
  return wanted.st_uid == present.st_uid || fchown(to, wanted.st_uid, static_cast<gid_t>(-1)) == 0;
}

bool bind_like(int from, int to) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  return getsockname(from, address, &length) == 0 && real::bind(to, address, length) == 0;
}

void close_keeping_errno(int fd) {
  const int error = errno;
  real::close(fd);
  errno = error;
}

}  // namespace

void copy_options(int from, int to) {
  for (const Option& option : kOptions) copy_option(from, to, option);
  if (int_option(from, SO_BUF_LOCK) & kSendLock) copy_buffer(from, to, SO_SNDBUF, SO_SNDBUFFORCE);
}

int make_sibling(int fd, const Socket& socket) {
  const int type = socket.udp() ? SOCK_DGRAM : SOCK_STREAM;
  const int sibling = ::socket(socket.family, type | SOCK_CLOEXEC, socket.protocol);
  if (sibling < 0) return -1;
  if (copy_owner(fd, sibling)) {
    share_port(sibling);
    copy_options(fd, sibling);
    if (int_option(fd, SO_BUF_LOCK) & kReceiveLock)
      copy_buffer(fd, sibling, SO_RCVBUF, SO_RCVBUFFORCE);
    if (bind_like(fd, sibling)) return sibling;
  }
  close_keeping_errno(sibling);
  return -1;
}

int form_group(int fd, const Socket& socket) {
  if (!daemon_answers(fd)) {
    errno = ENOENT;
    return -1;
  }
  share_port(fd);
  const int sibling = make_sibling(fd, socket);
  if (sibling >= 0 && (socket.udp() || real::listen(sibling, SOMAXCONN) == 0)) {
    select_first(fd);
    return sibling;
  }
  const int error = errno;
  const int off = 0;
  real::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
  if (sibling >= 0) real::close(sibling);
  errno = error;
  return -1;
}

// The status flags belong to the open file, close-on-exec to the number.
bool put_in_place(int sibling, int fd) {
  const int status = real::fcntl(fd, F_GETFL, 0);
  const int flags = real::fcntl(fd, F_GETFD, 0);
  if (status >= 0) real::fcntl(sibling, F_SETFL, status);
  const bool done =
      real::dup3(sibling, fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) == fd;
  if (done) listeners.move(sibling, fd);
  close_keeping_errno(sibling);
  return done;
}

}  // namespace subset::shim
