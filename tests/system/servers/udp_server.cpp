// SPDX-License-Identifier: MIT
// A UDP server that never heard of SO_SUBSET, nor of SO_REUSEPORT: socket, bind, recvfrom, sendto.
// It answers every datagram with its id, and writes down in which order each flow reached it.
//
//   udp_server --id N [--report FILE] [--reuse] [--passed] [--from PATH] [--on-usr1 WHAT]
//              [--late] ADDRESS:PORT...
//
// --passed serves the socket that it is started with as descriptor 3, --from the one that somebody
// sends who listens at PATH (AF_UNIX); both beside the addresses, of which there may be none.
// --reuse sets SO_REUSEADDR and SO_REUSEPORT by itself, as a server that escaped the shim may.
// --late waits for SIGUSR1 before it looks at its sockets for the first time, with the receive
// buffer that the kernel gives by default. --on-usr1 is what it does to its first socket at
// SIGUSR1, and says "done": "connect" to a peer that never speaks, "dissolve" (connect to
// AF_UNSPEC), "unshare" (SO_REUSEPORT off). SIGTERM ends it; the report is then one line a flow:
// "FLOW COUNT DISORDER".
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/system/servers/address.h"
#include "tests/system/servers/die.h"
#include "tests/system/servers/echo.h"

namespace subset::test {
namespace {

struct Arguments {
  uint32_t id = 0;
  std::string report;
  bool reuse = false;
  bool passed = false;
  bool late = false;
  std::string from;
  std::string on_usr1;
  std::vector<std::string> addresses;
};

struct FlowReport {
  uint32_t next = 0;  // sequence number that is due
  uint32_t count = 0;
  uint32_t disorder = 0;  // datagrams that came before or after their turn
};

volatile std::sig_atomic_t g_stopped = 0;
volatile std::sig_atomic_t g_asked = 0;

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--id" && i + 1 < argc) {
      arguments.id = static_cast<uint32_t>(std::stoul(argv[++i]));
    } else if (word == "--report" && i + 1 < argc) {
      arguments.report = argv[++i];
    } else if (word == "--reuse") {
      arguments.reuse = true;
    } else if (word == "--passed") {
      arguments.passed = true;
    } else if (word == "--late") {
      arguments.late = true;
    } else if (word == "--from" && i + 1 < argc) {
      arguments.from = argv[++i];
    } else if (word == "--on-usr1" && i + 1 < argc) {
      arguments.on_usr1 = argv[++i];
    } else {
      arguments.addresses.push_back(word);
    }
  }
  return arguments;
}

// With room for seconds of load: a machine that is busy with something else must not make the
// kernel drop datagrams here, or the tests would count its noise.
void make_room(int fd) {
  int bytes = 8 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0) return;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) < 0) die("setsockopt");
}

int open_socket(const Address& address, bool reuse, bool roomy) {
  int fd = socket(address.family(), SOCK_DGRAM, 0);
  if (fd < 0) die("socket");
  int yes = 1;
  if (reuse && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
                setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) < 0)) {
    die("setsockopt");
  }
  if (roomy) make_room(fd);
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  return fd;
}

void note(FlowReport& report, uint32_t sequence) {
  if (sequence != report.next) report.disorder++;
  report.next = sequence + 1;
  report.count++;
}

int receive_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  int peer = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die("connect");
  char byte = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{&byte, sizeof byte};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  int fd = -1;
  if (recvmsg(peer, &message, 0) != 1 || !CMSG_FIRSTHDR(&message)) die("recvmsg");
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  close(peer);
  return fd;
}

// One datagram in, one out. A question of another size is answered by silence.
void serve_one(int fd, uint32_t id, std::map<uint32_t, FlowReport>& flows) {
  Question question;
  sockaddr_storage from{};
  socklen_t from_size = sizeof from;
  ssize_t got = recvfrom(fd, &question, sizeof question, MSG_DONTWAIT,
                         reinterpret_cast<sockaddr*>(&from), &from_size);
  if (got != sizeof question) return;
  note(flows[question.flow], question.sequence);
  Answer answer{question.flow, question.sequence, id};
  sendto(fd, &answer, sizeof answer, 0, reinterpret_cast<sockaddr*>(&from), from_size);
}

void change(int fd, const std::string& what) {
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  const Address silent("127.0.0.1:9");
  const int off = 0;
  int failed = 0;
  if (what == "connect") failed = connect(fd, silent.get(), silent.size());
  if (what == "dissolve") failed = connect(fd, &unspecified, sizeof unspecified);
  if (what == "unshare") failed = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof off);
  if (failed != 0) die(what.c_str());
  std::puts("done");
  std::fflush(stdout);
}

// SIGTERM and SIGUSR1 are let in only while ppoll waits, so that none falls between a look at the
// flag and the sleep.
void serve(const std::vector<int>& fds, const Arguments& arguments,
           std::map<uint32_t, FlowReport>& flows) {
  sigset_t open_mask;
  sigemptyset(&open_mask);
  std::vector<pollfd> polled;
  polled.reserve(fds.size());
  for (int fd : fds) polled.push_back({fd, POLLIN, 0});
  while (!g_stopped) {
    const int ready = ppoll(polled.data(), polled.size(), nullptr, &open_mask);
    if (g_asked) {
      g_asked = 0;
      change(fds.front(), arguments.on_usr1);
    }
    if (ready < 0) continue;
    for (const pollfd& one : polled) {
      if (one.revents & POLLIN) serve_one(one.fd, arguments.id, flows);
    }
  }
}

void wait_for_usr1() {
  sigset_t open_mask;
  sigemptyset(&open_mask);
  while (!g_asked && !g_stopped) sigsuspend(&open_mask);
  g_asked = 0;
}

void handle_stop_signal() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  struct sigaction action {};
  action.sa_handler = [](int) { g_stopped = 1; };
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = [](int) { g_asked = 1; };
  sigaction(SIGUSR1, &action, nullptr);
}

int run(const Arguments& arguments) {
  handle_stop_signal();
  std::vector<int> fds;
  for (const std::string& text : arguments.addresses) {
    fds.push_back(open_socket(Address(text), arguments.reuse, !arguments.late));
  }
  if (arguments.passed) fds.push_back(3);
  if (!arguments.from.empty()) fds.push_back(receive_socket(arguments.from));
  std::puts("ready");
  std::fflush(stdout);

  if (arguments.late) wait_for_usr1();
  std::map<uint32_t, FlowReport> flows;
  serve(fds, arguments, flows);

  if (arguments.report.empty()) return 0;
  std::ofstream report(arguments.report);
  for (const auto& [flow, seen] : flows) {
    report << flow << ' ' << seen.count << ' ' << seen.disorder << '\n';
  }
  return report.flush() ? 0 : 1;
}

}  // namespace
}  // namespace subset::test

int main(int argc, char** argv) {
  try {
    return subset::test::run(subset::test::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "udp_server: %s\n", error.what());
    return 2;
  }
}
