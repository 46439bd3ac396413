// SPDX-License-Identifier: MIT
// A UDP service that does nothing but answer, in batches: what a generator is measured against,
// and, with --work-us, a service that is as slow as one likes. Runs until SIGTERM or SIGINT.
#include <sys/socket.h>

#include <csignal>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "bench/load/address.h"
#include "bench/load/thread.h"
#include "daemon/base/fd.h"

namespace {

using namespace subset;
using namespace subset::bench;

volatile std::sig_atomic_t stopping = 0;

void stop(int) {
  stopping = 1;
}

// Without SA_RESTART: a receive that waits ends.
void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = stop;
  for (const int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

constexpr unsigned kBatch = 64;
constexpr size_t kMaxDatagram = 2048;

struct Batch {
  char text[kBatch][kMaxDatagram];
  sockaddr_storage peers[kBatch];
  iovec parts[kBatch];
  mmsghdr messages[kBatch];

  void prepare() {
    for (unsigned i = 0; i < kBatch; i++) {
      parts[i] = {.iov_base = text[i], .iov_len = kMaxDatagram};
      messages[i] = {};
      messages[i].msg_hdr.msg_name = &peers[i];
      messages[i].msg_hdr.msg_namelen = sizeof peers[i];
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

void work(uint64_t nanoseconds) {
  if (nanoseconds == 0) return;
  const uint64_t end = now_ns() + nanoseconds;
  while (now_ns() < end) {
  }
}

Result<Fd> open_service(const std::string& at, bool reuse) {
  auto address = parse_address(at);
  if (!address) return tl::unexpected(address.error());
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a socket");
  const int on = 1;
  if (reuse && setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
    return fail_errno("set SO_REUSEPORT");
  if (bind(socket.get(), generic(*address), sizeof *address) != 0) return fail_errno("bind " + at);
  return socket;
}

void serve(int socket, uint64_t work_ns) {
  static Batch batch;
  while (!stopping) {
    batch.prepare();
    const unsigned room = work_ns == 0 ? kBatch : 1;
    const int got = recvmmsg(socket, batch.messages, room, MSG_WAITFORONE, nullptr);
    if (got <= 0) continue;
    for (int i = 0; i < got; i++) batch.parts[i].iov_len = batch.messages[i].msg_len;
    work(work_ns * static_cast<uint64_t>(got));
    sendmmsg(socket, batch.messages, static_cast<unsigned>(got), 0);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  std::string at;
  uint64_t work_us = 0;
  bool reuse = false;
  CLI::App app{"Answers each datagram with itself, until SIGTERM", "udp_echo"};
  app.add_option("--at", at, "IPv4 address and port")->required();
  app.add_option("--work-us", work_us, "CPU time to burn for each answer, in microseconds")
      ->capture_default_str();
  app.add_flag("--reuseport", reuse, "share the port");
  CLI11_PARSE(app, argc, argv);
  stop_on_signals();
  auto socket = open_service(at, reuse);
  if (!socket) {
    std::fprintf(stderr, "udp_echo: %s\n", socket.error().message().c_str());
    return 1;
  }
  serve(socket->get(), work_us * 1000);
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "udp_echo: %s\n", error.what());
  return 1;
}
