// SPDX-License-Identifier: MIT
#include "tests/system/harness/control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

constexpr size_t kMaxDescriptors = 253;  // SCM_MAX_FD of the kernel
constexpr size_t kMaxPacket = 1 << 16;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::invalid_argument("path too long: " + path);
  path.copy(address.sun_path, path.size());
  return address;
}

Fd make_socket() {
  return Fd(checked(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "socket"));
}

// Space for control messages, aligned as CMSG_FIRSTHDR wants it.
union Ancillary {
  char bytes[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  cmsghdr align;
};

void attach(msghdr& message, Ancillary& ancillary, const std::vector<int>& descriptors) {
  size_t size = descriptors.size() * sizeof(int);
  message.msg_control = ancillary.bytes;
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(header), descriptors.data(), size);
}

std::vector<Fd> detach(msghdr& message) {
  std::vector<Fd> result;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; at + CMSG_LEN(0) < header->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
      result.emplace_back(fd);
    }
  }
  return result;
}

}  // namespace

void Packet::check_size(size_t size) const {
  if (bytes.size() == size) return;
  throw std::runtime_error("a message of " + std::to_string(bytes.size()) + " bytes instead of " +
                           std::to_string(size));
}

Connection Connection::to(const std::string& path) {
  Fd socket = make_socket();
  sockaddr_un address = address_of(path);
  checked(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
          "connect to " + path);
  return Connection(std::move(socket));
}

bool Connection::send(const std::string& bytes, const std::vector<int>& descriptors) const {
  iovec vector{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  Ancillary ancillary{};
  if (!descriptors.empty()) attach(message, ancillary, descriptors);
  if (sendmsg(socket_.get(), &message, MSG_NOSIGNAL) >= 0) return true;
  if (errno == EPIPE || errno == ECONNRESET) return false;
  throw_errno("send on the control socket");
}

std::optional<Packet> Connection::receive(Clock::duration limit) const {
  auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(limit * slowness()).count();
  pollfd readable{socket_.get(), POLLIN, 0};
  if (checked(poll(&readable, 1, static_cast<int>(milliseconds)), "poll") == 0) {
    throw std::runtime_error("no answer on the control socket");
  }
  Packet packet{std::string(kMaxPacket, '\0'), {}};
  iovec vector{packet.bytes.data(), packet.bytes.size()};
  Ancillary ancillary{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.bytes;
  message.msg_controllen = sizeof ancillary.bytes;
  ssize_t got = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return std::nullopt;
  checked(got, "receive on the control socket");
  packet.bytes.resize(static_cast<size_t>(got));
  packet.descriptors = detach(message);
  return packet;
}

Fd listen_at(const std::string& path) {
  Fd socket = make_socket();
  sockaddr_un address = address_of(path);
  checked(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
          "bind " + path);
  checked(chmod(path.c_str(), 0666), "chmod " + path);
  checked(listen(socket.get(), SOMAXCONN), "listen at " + path);
  return socket;
}

}  // namespace subset::test
