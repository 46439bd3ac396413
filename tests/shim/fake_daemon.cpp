// SPDX-License-Identifier: MIT
#include "tests/shim/fake_daemon.h"

#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <stdexcept>

#include "tests/shim/run.h"

namespace subset::test {
namespace {

std::string next_path() {
  static std::atomic<int> count{0};
  return scratch() + "/daemon" + std::to_string(++count);
}

int listen_at(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 128) != 0)
    throw std::runtime_error("fake daemon");
  return fd;
}

void look_at_socket(int fd, Seen& seen) {
  socklen_t length = sizeof seen.cookie;
  getsockopt(fd, SOL_SOCKET, SO_COOKIE, &seen.cookie, &length);
  int listening = 0;
  length = sizeof listening;
  getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
  seen.listening = listening == 1;
}

Seen receive(int connection) {
  Seen seen{};
  char data[protocol::kMaxMessage];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part = {data, sizeof data};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  if (size < static_cast<ssize_t>(sizeof seen.header)) return seen;
  seen.size = static_cast<size_t>(size);
  memcpy(&seen.header, data, sizeof seen.header);
  if (seen.size == sizeof seen.registration) memcpy(&seen.registration, data, seen.size);
  if (seen.header.kind == protocol::Kind::Leave && seen.size == sizeof(protocol::OfSocket))
    memcpy(&seen.flags, data + offsetof(protocol::OfSocket, flags), sizeof seen.flags);
  const cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (rights && rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    look_at_socket(fd, seen);
    close(fd);
  }
  return seen;
}

void send_reply(int connection, const protocol::Reply& reply) {
  send(connection, &reply, sizeof reply, MSG_NOSIGNAL);
}

void set_text(protocol::Reply& reply, const std::string& text) {
  strncpy(reply.text, text.c_str(), sizeof reply.text - 1);
}

}  // namespace

FakeDaemon::FakeDaemon(Answer answer)
    : answer_(std::move(answer)), path_(next_path()), listener_(listen_at(path_)) {
  thread_ = std::thread([this] { serve(); });
}

FakeDaemon::~FakeDaemon() {
  stopping_ = true;
  thread_.join();
  close(listener_);
}

std::vector<Seen> FakeDaemon::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void FakeDaemon::serve() {
  pollfd ready = {listener_, POLLIN, 0};
  while (!stopping_) {
    if (poll(&ready, 1, 20) != 1) continue;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    handle(connection);
    close(connection);
  }
}

void FakeDaemon::handle(int connection) {
  const Seen seen = receive(connection);
  {
    const std::lock_guard lock(mutex_);
    seen_.push_back(seen);
  }
  answer_(connection, seen);
}

void grant(int connection, const Seen& seen) {
  protocol::Reply reply;
  reply.total = seen.registration.wanted.total;
  reply.instance = seen.registration.wanted.instance;
  send_reply(connection, reply);
}

FakeDaemon::Answer refuse(int error, const std::string& text) {
  return [=](int connection, const Seen&) {
    protocol::Reply reply;
    reply.error = error;
    set_text(reply, text);
    send_reply(connection, reply);
  };
}

FakeDaemon::Answer assign(uint32_t instance, const std::string& text) {
  return [=](int connection, const Seen& seen) {
    protocol::Reply reply;
    reply.total = seen.registration.wanted.total ? seen.registration.wanted.total : 8;
    reply.instance = instance;
    set_text(reply, text);
    send_reply(connection, reply);
  };
}

FakeDaemon::Answer send_bytes(const void* data, size_t size) {
  const std::string bytes(static_cast<const char*>(data), size);
  return [=](int connection, const Seen&) {
    send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  };
}

}  // namespace subset::test
