// SPDX-License-Identifier: MIT
#include "shim/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shim/process.h"
#include "shim/real.h"

namespace subset::shim {
namespace {

// Servers close standard error and get a socket of their own on its number, which must not see our
// text. A UNIX socket may well be the journal. A pipe that is full would block the server.
bool writable(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (real::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain != AF_UNIX)
    return false;
  pollfd ready = {.fd = fd, .events = POLLOUT, .revents = 0};
  return real::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT);
}

// A reader that has gone must not kill the server, which itself may never write there: SIGPIPE is
// held back from this thread, and taken away again if this write caused it.
void write_without_sigpipe(int fd, const char* text, size_t size) {
  sigset_t pipe_set;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
  if (write(fd, text, size) < 0 && errno == EPIPE && !was_pending) {
    const timespec at_once{};
    sigtimedwait(&pipe_set, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

Line::Line(LogLevel level) : wanted_(level <= process.settings.log) {
  *this << "subset: ";
}

Line::~Line() {
  if (!wanted_) return;
  const int before = errno;
  buffer_[size_] = '\n';
  if (writable(STDERR_FILENO)) write_without_sigpipe(STDERR_FILENO, buffer_, size_ + 1);
  errno = before;
}

void Line::put(char c) {
  const bool control = static_cast<unsigned char>(c) < ' ' || c == '\x7f';
  if (size_ < sizeof buffer_ - 1) buffer_[size_++] = control ? '?' : c;
}

Line& Line::operator<<(const char* text) {
  while (*text) put(*text++);
  return *this;
}

const char* describe_error(int error) {
  const char* text = strerrordesc_np(error);
  return text ? text : "an unknown error";
}

Line& Line::operator<<(uint64_t number) {
  if (number >= 10) *this << number / 10;
  put(static_cast<char>('0' + number % 10));
  return *this;
}

}  // namespace subset::shim
