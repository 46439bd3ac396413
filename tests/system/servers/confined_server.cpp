// SPDX-License-Identifier: MIT
// A UDP server that shuts itself in, in the order that it is told, and answers every datagram with
// its id:
//
//   confined_server ID STEP...
//
//   bind:ADDRESS:PORT   opens its socket
//   drop                becomes nobody
//   chroot:DIRECTORY
//   close               closes all descriptors but standard output
//   filter              a seccomp filter by which it dies of any call but those that it makes
//   itself
//                       while it serves
//   deny                one that lets through what it makes itself from here on, bind included, and
//                       fails all other calls with EPERM
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/system/servers/address.h"
#include "tests/system/servers/confine.h"
#include "tests/system/servers/die.h"
#include "tests/system/servers/echo.h"

namespace subset::test {
namespace {

constexpr uid_t kNobody = 65534;

int open_socket(const std::string& where) {
  const Address address(where);
  const int fd = socket(address.family(), SOCK_DGRAM, 0);
  if (fd < 0) die("socket");
  if (bind(fd, address.get(), address.size()) < 0) die("bind");
  return fd;
}

[[noreturn]] void serve(int fd, uint32_t id) {
  for (;;) {
    Question question;
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    auto* peer = reinterpret_cast<sockaddr*>(&from);
    if (recvfrom(fd, &question, sizeof question, 0, peer, &size) != sizeof question) continue;
    const Answer answer{question.flow, question.sequence, id};
    sendto(fd, &answer, sizeof answer, 0, peer, size);
  }
}

void drop() {
  if (setresuid(kNobody, kNobody, kNobody) < 0) die("setresuid");
}

void take(const std::string& step, int& fd) {
  if (step.starts_with("bind:")) {
    fd = open_socket(step.substr(5));
  } else if (step == "drop") {
    drop();
  } else if (step.starts_with("chroot:")) {
    if (chroot(step.c_str() + 7) < 0 || chdir("/") < 0) die("chroot");
  } else if (step == "close") {
    for (int number = 0; number < 256; number++)
      if (number != STDOUT_FILENO) close(number);
  } else if (step == "filter") {
    confine({SYS_recvfrom, SYS_sendto, SYS_write}, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
  } else if (step == "deny") {
    confine({SYS_socket, SYS_bind, SYS_recvfrom, SYS_sendto, SYS_write, SYS_close},
            SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM);
  } else {
    std::fprintf(stderr, "%s is no step\n", step.c_str());
    std::_Exit(2);
  }
}

}  // namespace
}  // namespace subset::test

int main(int argc, char** argv) {
  int fd = -1;
  for (int i = 2; i < argc; i++) subset::test::take(argv[i], fd);
  (void)!write(STDOUT_FILENO, "ready\n", 6);
  subset::test::serve(fd, static_cast<uint32_t>(std::atoi(argv[1])));
}
