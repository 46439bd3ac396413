// SPDX-License-Identifier: MIT
// Sockets that a server did not bind itself, in the arrangements that there are:
//
// - one socket unit for each instance: the socket was bound with SO_REUSEPORT or, if there is but
//   one, without; the service manager keeps it, and passes it on again when the server is
//   restarted;
// - one socket that several services are given: it cannot be two instances, and that is said;
// - a process that hands its socket to its successor, over execve or by SCM_RIGHTS: the same
// socket,
//   by its cookie, stays the same member, now of another process.
//
// The test plays the service manager: it binds without the shim and keeps the socket. To hand over
// a server's socket it takes it out of the server (pidfd_getfd).
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

extern "C" {  // which the header of glibc 2.36 forgets
#include <sys/pidfd.h>
}

namespace subset::test {
namespace {

using namespace std::chrono_literals;

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";

Fd bound_socket(bool share) {
  const Address address(kAddress);
  Fd fd(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int on = share ? 1 : 0;
  REQUIRE(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
  REQUIRE(bind(fd.get(), address.get(), address.size()) == 0);
  return fd;
}

UdpServerOptions options(const DaemonProcess& daemon, uint32_t instance) {
  return {.id = instance, .environment = daemon.environment(std::to_string(instance) + "/2")};
}

UdpServer serve(Machine& machine, const DaemonProcess& daemon, uint32_t instance) {
  UdpServerOptions how = options(daemon, instance);
  how.addresses = {kAddress};
  return UdpServer(machine, how);
}

UdpServer serve_passed(Machine& machine, const DaemonProcess& daemon, uint32_t instance,
                       const Fd& socket) {
  UdpServerOptions how = options(daemon, instance);
  how.passed = socket.get();
  return UdpServer(machine, how);
}

// The server's own socket, by its last descriptor.
Fd take_socket(const UdpServer& server, pid_t pid) {
  const Fd process(checked(pidfd_open(pid, 0), "pidfd_open"));
  for (int number = 3; number < 10; number++) {
    Fd fd(pidfd_getfd(process.get(), number, 0));
    int type = 0;
    socklen_t length = sizeof type;
    if (fd && getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &length) == 0) return fd;
  }
  throw std::runtime_error("server " + std::to_string(server.id()) + " has no socket");
}

// Sends `fd` to the first who connects.
class Sender {
 public:
  Sender(const std::string& path, int fd) : listener_(socket(AF_UNIX, SOCK_STREAM, 0)), fd_(fd) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    checked(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), path);
    checked(listen(listener_.get(), 1), path);
    thread_ = std::thread([this] { send(); });
  }
  ~Sender() { thread_.join(); }

 private:
  void send() const {
    const Fd peer(accept(listener_.get(), nullptr, nullptr));
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd_)] = {};
    char byte = 'x';
    iovec part{&byte, sizeof byte};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd_);
    memcpy(CMSG_DATA(rights), &fd_, sizeof fd_);
    sendmsg(peer.get(), &message, 0);
  }

  Fd listener_;
  int fd_;
  std::thread thread_;
};

// Two active members, and who holds the first; all traffic is answered, and by both.
void check_pair(const DaemonProcess& daemon, pid_t holder) {
  Document status = daemon.status();
  const GroupStatus& group = status.group(kGroup);
  REQUIRE(group.active() == 2);
  CHECK(group.of(0)->pid == holder);
  const uint64_t before = group.selected();
  UdpFlows flows(kAddress, 64);
  CHECK(flows.exchange(2));
  std::set<uint32_t> owners;
  for (const uint32_t owner : flows.owners()) owners.insert(owner);
  CHECK(owners == std::set<uint32_t>{0, 1});
  CHECK(daemon.status().group(kGroup).selected() == before + 128);
}

bool holds(const DaemonProcess& daemon, uint32_t instance, pid_t pid) {
  return eventually([&] {
    Document status = daemon.status();
    const MemberStatus* member = status.group(kGroup).of(instance);
    return member && member->pid == pid;
  });
}

TEST_SUITE("system") {
  TEST_CASE("a socket unit for each instance, with ReusePort") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Fd zero = bound_socket(true);
    const Fd one = bound_socket(true);
    UdpServer first = serve_passed(machine, daemon, 0, zero);
    UdpServer second = serve_passed(machine, daemon, 1, one);
    check_pair(daemon, first.process().pid());

    // The manager has kept the socket: its service comes back, and it is the member that it was.
    first.process().kill9();
    UdpServer again = serve_passed(machine, daemon, 0, zero);
    CHECK(holds(daemon, 0, again.process().pid()));
    check_pair(daemon, again.process().pid());
    CHECK(again.process().err() == "");
  }

  // Whoever bound it did not mean to share. It gets into a group of the kernel's all the same, so
  // that other instances can bind beside it.
  TEST_CASE("a socket that was bound without SO_REUSEPORT") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Fd socket = bound_socket(false);
    UdpServer first = serve_passed(machine, daemon, 0, socket);
    CHECK(first.process().err() == "");
    UdpServer second = serve(machine, daemon, 1);
    check_pair(daemon, first.process().pid());
    CHECK(daemon.status().group(kGroup).strangers == 0);
    CHECK_FALSE(daemon.status().group(kGroup).foreign);
  }

  TEST_CASE("a socket that cannot be shared, as it is somebody else's, stays out with a word why") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Fd socket = bound_socket(false);  // root's
    UdpServerOptions how = options(daemon, 0);
    how.passed = socket.get();
    how.user = kNobody;
    UdpServer server(machine, how);
    CHECK(server.process().err().find("set ReusePort=yes in its socket unit") != std::string::npos);
    CHECK(daemon.status().groups.empty());
    UdpFlows flows(kAddress, 8);
    CHECK(flows.exchange(2));
  }

  TEST_CASE("one socket for two services cannot be two instances") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Fd shared = bound_socket(true);
    UdpServer first = serve_passed(machine, daemon, 0, shared);
    UdpServer second = serve_passed(machine, daemon, 1, shared);
    CHECK(second.process().err().find("each instance needs a socket of its own") !=
          std::string::npos);
    CHECK(holds(daemon, 0, first.process().pid()));
    UdpFlows flows(kAddress, 8);
    CHECK(flows.exchange(2));  // they share it, as without us
  }

  TEST_CASE("a socket handed over by SCM_RIGHTS stays the same member") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer old = serve(machine, daemon, 0);
    UdpServer other = serve(machine, daemon, 1);
    const uint64_t cookie = daemon.status().group(kGroup).of(0)->cookie;
    UdpServerOptions how = options(daemon, 0);
    how.from = machine.file("hand");
    Fd socket = take_socket(old, old.process().pid());
    std::optional<UdpServer> heir;
    {
      Sender sender(how.from, socket.get());
      heir.emplace(machine, how);
    }
    CHECK(holds(daemon, 0, heir->process().pid()));  // since it polled
    CHECK(daemon.status().group(kGroup).of(0)->cookie == cookie);
    socket.reset();
    old.process().kill9();
    check_pair(daemon, heir->process().pid());
    CHECK(daemon.status().group(kGroup).members.size() == 2);
    CHECK(heir->process().err() == "");
  }

  TEST_CASE("a socket that is still open after execve stays the same member") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer old = serve(machine, daemon, 0);
    UdpServer other = serve(machine, daemon, 1);
    Fd socket = take_socket(old, old.process().pid());
    // env takes the word for "passed by a service manager" away.
    Process heir(machine, {.argv = {"env", "-u", "LISTEN_FDS", built("tests/system/udp_server"),
                                    "--id", "0", "--passed"},
                           .environment = daemon.environment("0/2"),
                           .listener = socket.get()});
    REQUIRE(heir.wrote("ready"));
    CHECK(holds(daemon, 0, heir.pid()));
    socket.reset();
    old.process().kill9();
    check_pair(daemon, heir.pid());
    CHECK(heir.err() == "");
  }
}

}  // namespace
}  // namespace subset::test
