// SPDX-License-Identifier: MIT
#include "daemon/kernel/socket_facts.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "daemon/base/fd.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // Linux 5.14
#endif

namespace subset::kernel {
namespace {

template <typename T>
Result<T> option(int fd, int level, int name, const char* doing) {
  T value{};
  socklen_t size = sizeof value;
  if (getsockopt(fd, level, name, &value, &size) != 0) return fail_errno(doing);
  return value;
}

Result<void> read_kind(int fd, GroupKey& key) {
  auto domain = option<int>(fd, SOL_SOCKET, SO_DOMAIN, "look at the descriptor");
  if (!domain) return fail(domain.error(), "not a socket that can be steered");
  auto protocol = option<int>(fd, SOL_SOCKET, SO_PROTOCOL, "read SO_PROTOCOL");
  if (!protocol) return fail(protocol.error(), "socket");
  auto type = option<int>(fd, SOL_SOCKET, SO_TYPE, "read SO_TYPE");
  if (!type) return fail(type.error(), "socket");
  const bool inet = *domain == AF_INET || *domain == AF_INET6;
  const bool udp = *type == SOCK_DGRAM && *protocol == IPPROTO_UDP;
  const bool tcp = *type == SOCK_STREAM && *protocol == IPPROTO_TCP;
  if (!inet || (!udp && !tcp)) return fail(EOPNOTSUPP, "not an IPv4 or IPv6 UDP or TCP socket");
  key.family = *domain == AF_INET ? Family::Inet : Family::Inet6;
  key.protocol = udp ? Protocol::Udp : Protocol::Tcp;
  return {};
}

Result<void> read_address(int fd, GroupKey& key) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0)
    return fail_errno("read the socket's address");
  if (storage.ss_family == AF_INET) {
    sockaddr_in address{};
    memcpy(&address, &storage, sizeof address);
    key.port = ntohs(address.sin_port);
    memcpy(key.address.data(), &address.sin_addr, 4);
  } else {
    sockaddr_in6 address{};
    memcpy(&address, &storage, sizeof address);
    key.port = ntohs(address.sin6_port);
    memcpy(key.address.data(), &address.sin6_addr, 16);
  }
  if (key.port == 0) return fail(EINVAL, "the socket is not bound");
  return {};
}

// SIOCGSKNS opens the namespace of the socket itself, whoever sent it; needs CAP_NET_ADMIN there.
Result<void> read_namespace(int fd, GroupKey& key) {
  auto cookie = option<uint64_t>(fd, SOL_SOCKET, SO_NETNS_COOKIE, "read SO_NETNS_COOKIE");
  if (!cookie) return fail(cookie.error(), "socket");
  key.netns_cookie = *cookie;
  const Fd ns(ioctl(fd, SIOCGSKNS));
  if (!ns) return fail_errno("open the socket's network namespace");
  struct stat about {};
  if (fstat(ns.get(), &about) != 0) return fail_errno("look at the socket's network namespace");
  key.netns_inode = static_cast<uint32_t>(about.st_ino);
  return {};
}

// All of the key but the address.
Result<void> read_rest(int fd, GroupKey& key) {
  if (auto read = read_namespace(fd, key); !read) return read;
  if (key.family == Family::Inet6) {
    auto v6only = option<int>(fd, IPPROTO_IPV6, IPV6_V6ONLY, "read IPV6_V6ONLY");
    if (!v6only) return tl::unexpected(v6only.error());
    key.v6only = *v6only != 0;
  }
  auto device = option<int>(fd, SOL_SOCKET, SO_BINDTOIFINDEX, "read SO_BINDTOIFINDEX");
  if (!device) return tl::unexpected(device.error());
  key.device = static_cast<uint32_t>(*device);

  // The owner that the kernel compares is the inode's: that of socket(2), changed only by fchown.
  struct stat about {};
  if (fstat(fd, &about) != 0) return fail_errno("read the socket's owner");
  key.uid = about.st_uid;
  return {};
}

// Binding to a link-local address binds to its interface.
bool is_link_local(const GroupKey& key) {
  return key.family == Family::Inet6 && key.address[0] == 0xfe && (key.address[1] & 0xc0) == 0x80;
}

}  // namespace

Result<GroupKey> inspect_unbound(int fd, const std::array<uint8_t, 16>& address, uint16_t port,
                                 uint32_t scope) {
  GroupKey key;
  if (auto read = read_kind(fd, key); !read) return tl::unexpected(read.error());
  if (auto read = read_rest(fd, key); !read) return tl::unexpected(read.error());
  const size_t length = key.family == Family::Inet ? 4 : address.size();
  std::copy_n(address.begin(), length, key.address.begin());
  key.port = port;
  if (scope != 0 && is_link_local(key)) key.device = scope;
  return key;
}

Result<SocketFacts> inspect_socket(int fd) {
  SocketFacts facts;
  GroupKey& key = facts.key;
  if (auto read = read_kind(fd, key); !read) return tl::unexpected(read.error());
  if (auto read = read_address(fd, key); !read) return tl::unexpected(read.error());
  if (auto read = read_rest(fd, key); !read) return tl::unexpected(read.error());

  auto cookie = option<uint64_t>(fd, SOL_SOCKET, SO_COOKIE, "read SO_COOKIE");
  if (!cookie) return tl::unexpected(cookie.error());
  facts.cookie = *cookie;
  auto reuseport = option<int>(fd, SOL_SOCKET, SO_REUSEPORT, "read SO_REUSEPORT");
  if (!reuseport) return tl::unexpected(reuseport.error());
  facts.reuseport = *reuseport != 0;
  auto listening = option<int>(fd, SOL_SOCKET, SO_ACCEPTCONN, "read SO_ACCEPTCONN");
  if (!listening) return tl::unexpected(listening.error());
  facts.listening = *listening != 0;
  return facts;
}

Result<uint32_t> own_netns_inode() {
  struct stat about {};
  if (stat("/proc/self/ns/net", &about) != 0) return fail_errno("look at /proc/self/ns/net");
  return static_cast<uint32_t>(about.st_ino);
}

Result<void> check_joinable(const SocketFacts& facts) {
  if (!facts.reuseport)
    return fail(EINVAL, "the socket was bound without SO_REUSEPORT: it cannot share its address");
  if (facts.key.protocol == Protocol::Tcp && !facts.listening)
    return fail(EINVAL, "the TCP socket does not listen");
  return {};
}

}  // namespace subset::kernel
