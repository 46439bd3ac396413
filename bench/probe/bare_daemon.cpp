// SPDX-License-Identifier: MIT
// A daemon that does nothing: it assigns to each socket what was asked for and closes it. What a
// join takes with it is what the exchange takes, the shim, two wake-ups and the passing of a
// descriptor, and no daemon that is asked by each bind can be faster. Serves until SIGTERM.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "daemon/base/fd.h"
#include "protocol/message.h"

namespace {

using namespace subset;

Fd listen_at(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  unlink(path);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd.get(), SOMAXCONN) != 0)
    return {};
  return fd;
}

// Closes the descriptor that came with it. False where it is no registration.
bool receive(int connection, protocol::Register& message) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part = {.iov_base = &message, .iov_len = sizeof message};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (recvmsg(connection, &header, MSG_CMSG_CLOEXEC) != sizeof message) return false;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (!rights || rights->cmsg_type != SCM_RIGHTS) return false;
  int passed = -1;
  memcpy(&passed, CMSG_DATA(rights), sizeof passed);
  close(passed);
  return message.header.kind == protocol::Kind::Register;
}

void serve(int connection) {
  protocol::Register message;
  if (!receive(connection, message)) return;
  protocol::Reply reply;
  reply.total = message.wanted.total;
  reply.instance = message.wanted.instance;
  (void)!send(connection, &reply, sizeof reply, MSG_NOSIGNAL);
}

}  // namespace

int main(int argc, char** argv) {
  const Fd listener = argc == 2 ? listen_at(argv[1]) : Fd();
  if (!listener) {
    std::fprintf(stderr, "usage: bare_daemon SOCKET\n");
    return 1;
  }
  for (;;) {
    const Fd connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) serve(connection.get());
  }
}
