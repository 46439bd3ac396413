// SPDX-License-Identifier: MIT
#include "tests/system/harness/tcp_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/system/harness/fail.h"

namespace subset::test {

TcpClient::TcpClient(const Address& server)
    : socket_(checked(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")) {
  timeval patience{.tv_sec = std::chrono::seconds(kPatience).count(), .tv_usec = 0};
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    checked(setsockopt(socket_.get(), SOL_SOCKET, option, &patience, sizeof patience),
            "limit the patience of a client");
  }
  if (connect(socket_.get(), server.get(), server.size()) < 0) note(errno);
}

void TcpClient::note(int error) {
  if (error_ == 0) error_ = error;
}

void TcpClient::greet() {
  if (error_ != 0) return;
  char word = '!';
  if (send(socket_.get(), &word, sizeof word, MSG_NOSIGNAL) < 0) note(errno);
}

std::optional<uint32_t> TcpClient::server() {
  if (error_ != 0) return std::nullopt;
  uint32_t id = 0;
  ssize_t got = recv(socket_.get(), &id, sizeof id, MSG_WAITALL);
  if (got == sizeof id) return id;
  note(got < 0 ? errno : EPIPE);
  return std::nullopt;
}

Tally visit(const Address& server, uint32_t times) {
  Tally tally;
  for (uint32_t i = 0; i < times; i++) {
    TcpClient client(server);
    auto id = client.server();
    if (!id) {
      throw std::runtime_error("connection " + std::to_string(i) + " to " + server.text() +
                               " failed: " + std::strerror(client.error()));
    }
    tally[*id]++;
  }
  return tally;
}

}  // namespace subset::test
