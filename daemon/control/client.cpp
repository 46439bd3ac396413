// SPDX-License-Identifier: MIT
#include "daemon/control/client.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace subset::control {
namespace {

// As many descriptors as a packet may bring (SCM_MAX_FD of the kernel). What does not fit the
// kernel closes right here, in the only thread: the last close of a stranger's file may take its
// time.
constexpr size_t kMostDescriptors = 253;

// The daemon's own documents in flight count against its limit of open files, as their memory does
// against its cgroup: a peer gets a few before it has to read.
constexpr int kUnreadBytes = 8192;

// Some 1,600 events: a burst of registrations must not cut off a reader that gets no CPU meanwhile.
constexpr int kStreamBuffer = 1 << 20;

// Documents are data; Linux 6.3 wants to be told, and some machines insist.
constexpr unsigned kNoExecSeal = 0x0008u;

template <typename T>
std::span<const std::byte> bytes_of(const T& message) {
  return std::as_bytes(std::span(&message, 1));
}

std::vector<Fd> descriptors_in(msghdr& message) {
  std::vector<Fd> found;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      found.emplace_back(fd);
    }
  }
  return found;
}

Result<Fd> make_memfd() {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  Fd memory(memfd_create("subset-document", flags | kNoExecSeal));
  if (!memory && errno == EINVAL) memory.reset(memfd_create("subset-document", flags));
  if (!memory) return fail_errno("make room for the document");
  return memory;
}

// The offset, which the reader shares, stays at the start.
Result<void> write_all(int fd, std::string_view text) {
  size_t done = 0;
  while (done < text.size()) {
    ssize_t count = pwrite(fd, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write the document");
    done += static_cast<size_t>(count);
  }
  return {};
}

Result<Fd> make_document(std::string_view text) {
  auto memory = make_memfd();
  if (!memory) return memory;
  if (auto done = write_all(memory->get(), text); !done) {
    return tl::unexpected(std::move(done.error()));
  }
  int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (fcntl(memory->get(), F_ADD_SEALS, seals) < 0) return fail_errno("seal the document");
  return memory;
}

}  // namespace

protocol::Reply reply_with(int error, std::string_view text) {
  protocol::Reply reply;
  reply.error = error;
  size_t length = std::min(text.size(), sizeof reply.text - 1);
  std::memcpy(reply.text, text.data(), length);
  return reply;
}

// --- in

Result<Packet> Client::receive() {
  Packet packet;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> control;
  iovec part{.iov_base = packet.room.data(), .iov_len = packet.room.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t count = -1;
  do {
    count = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    // A peer that closed without reading our answers leaves ECONNRESET before its own packets.
  } while (count < 0 && (errno == EINTR || errno == ECONNRESET));
  if (count < 0) return fail(errno == EAGAIN ? EAGAIN : ENOTCONN, "receive");
  packet.size = static_cast<size_t>(count);
  packet.larger = (message.msg_flags & MSG_TRUNC) != 0;
  packet.lost = (message.msg_flags & MSG_CTRUNC) != 0;
  packet.descriptors = descriptors_in(message);
  bool empty = count == 0 && packet.descriptors.empty() && !packet.lost;
  if (empty && poll_now(POLLRDHUP) != 0) return fail(ENOTCONN, "receive");
  return packet;
}

short Client::poll_now(short events) const {
  pollfd entry{.fd = socket_.get(), .events = events, .revents = 0};
  if (poll(&entry, 1, 0) < 0) return POLLERR;
  return entry.revents;
}

bool Client::open() const {
  return socket_ && state_ == State::Open && (poll_now(0) & (POLLHUP | POLLERR)) == 0;
}

// --- out

void Client::cut_off_now() {
  state_ = State::CutOff;
  hang_up();  // which wakes the server, and that one closes: this may be called from anywhere
}

void Client::send(std::span<const std::byte> message, int descriptor) {
  if (!socket_ || state_ != State::Open) return;
  iovec part{.iov_base = const_cast<std::byte*>(message.data()), .iov_len = message.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (descriptor >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return;
  if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN || errno == ECONNREFUSED) {
    state_ = State::Gone;
  } else {
    cut_off_now();
  }
}

void Client::reply(const protocol::Reply& reply) {
  send(bytes_of(reply));
}

void Client::hand_over(const protocol::Reply& reply, int socket) {
  send(bytes_of(reply), socket);
}

bool Client::leaves_documents_unread() const {
  int unread = 0;
  return ioctl(socket_.get(), SIOCOUTQ, &unread) == 0 && unread > kUnreadBytes;
}

void Client::document(const std::string& text) {
  if (!socket_ || state_ != State::Open) return;
  if (leaves_documents_unread()) return cut_off_now();
  auto memory = make_document(text);
  if (!memory) return reply(reply_with(memory.error().code, memory.error().context));
  protocol::Document message;
  message.bytes = text.size();
  send(bytes_of(message), memory->get());
}

void Client::event(const protocol::Event& event) {
  if (!std::exchange(streams_, true) && socket_) {
    // Without CAP_NET_ADMIN as much as net.core.wmem_max allows.
    int size = kStreamBuffer;
    if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) {
      setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
  }
  send(bytes_of(event));
}

void Client::hang_up() {
  shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace subset::control
