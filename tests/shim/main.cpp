// SPDX-License-Identifier: MIT
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <string>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

namespace {

void write_to(const char* path, const std::string& text) {
  std::ofstream(path) << text;
}

// In a new user namespace nobody has a name until it is given one; strace wants to know its own.
bool enter_user_namespace() {
  const std::string uid = std::to_string(getuid());
  const std::string gid = std::to_string(getgid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  write_to("/proc/self/setgroups", "deny");
  write_to("/proc/self/uid_map", uid + " " + uid + " 1");
  write_to("/proc/self/gid_map", gid + " " + gid + " 1");
  return true;
}

// A network namespace of its own, as root or by way of a user namespace: nobody else's ports are in
// the way. Where neither is allowed the tests run in the given one, on ports that are free there.
bool enter_own_namespace() {
  return unshare(CLONE_NEWNET) == 0 || enter_user_namespace();
}

void raise_loopback() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) perror("lo");
  close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  if (enter_own_namespace()) raise_loopback();
  return doctest::Context(argc, argv).run();
}
