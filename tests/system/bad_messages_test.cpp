// SPDX-License-Identifier: MIT
// The control socket is open to every user of the machine. Whatever they send, they get an error
// and nothing else notices: the daemon serves on, no group appears, no descriptor stays open.
//
// Descriptors are the delicate part. They arrive with a message before anyone has read it, so each
// path that refuses a message has to close them; the kernel drops those that exceed the receiver's
// buffer and says so in a flag; and some (a pipe, a FIFO, a terminal) must not even be touched.
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "protocol/message.h"
#include "protocol/policy.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";

protocol::Register good_register() {
  protocol::Register message;
  message.wanted.lineage = 1;
  message.wanted.total = 2;
  message.wanted.weight = kDefaultWeight;
  return message;
}

std::string changed(const std::function<void(protocol::Register&)>& change) {
  protocol::Register message = good_register();
  change(message);
  return bytes_of(message);
}

Fd make_socket(int family, int type) {
  return Fd(checked(socket(family, type | SOCK_CLOEXEC, 0), "socket"));
}

void set_reuseport(const Fd& socket) {
  int yes = 1;
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes), "SO_REUSEPORT");
}

void bind_to(const Fd& socket, const std::string& text) {
  Address address(text);
  checked(bind(socket.get(), address.get(), address.size()), "bind " + text);
}

// One that the daemon takes.
Fd good_socket() {
  Fd socket = make_socket(AF_INET, SOCK_DGRAM);
  set_reuseport(socket);
  bind_to(socket, kAddress);
  return socket;
}

// Its owner is whoever opens it; beside another user's it binds with SO_REUSEADDR alone.
Fd socket_of_nobody() {
  setfsuid(kNobody);
  Fd socket = make_socket(AF_INET, SOCK_DGRAM);
  setfsuid(0);
  int yes = 1;
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), "SO_REUSEADDR");
  set_reuseport(socket);
  bind_to(socket, kAddress);
  return socket;
}

bool nobody_is_in(const Document& status) {
  return std::all_of(status.groups.begin(), status.groups.end(),
                     [](const GroupStatus& group) { return group.members.empty(); });
}

// An answer that tells what is wrong, in one line that a terminal shows as it is.
void check_refusal(const std::optional<Packet>& packet) {
  REQUIRE(packet.has_value());
  auto reply = packet->as<protocol::Reply>();
  CHECK(reply.header.kind == protocol::Kind::Reply);
  CHECK(reply.error > 0);
  CHECK(reply.error < 4096);
  CHECK(packet->descriptors.empty());
  std::string text(reply.text, strnlen(reply.text, sizeof reply.text));
  CAPTURE(text);
  CHECK(text.size() < sizeof reply.text);
  CHECK(!text.empty());
  for (char c : text) CHECK(c >= ' ');
}

struct Bad {
  std::string name;
  std::string bytes;
  std::vector<int> descriptors;
};

// Malformed: the peer does not speak this protocol. It is told EPROTO and disconnected.
void check_malformed(const DaemonProcess& daemon, const Bad& bad) {
  CAPTURE(bad.name);
  Connection connection = Connection::to(daemon.socket());
  REQUIRE(connection.send(bad.bytes, bad.descriptors));
  auto packet = connection.receive();
  check_refusal(packet);
  CHECK(packet->as<protocol::Reply>().error == EPROTO);
  CHECK(!connection.receive().has_value());
}

// Well-formed, but not to be had.
void check_refused(const DaemonProcess& daemon, const Bad& bad) {
  CAPTURE(bad.name);
  Connection connection = Connection::to(daemon.socket());
  REQUIRE(connection.send(bad.bytes, bad.descriptors));
  check_refusal(connection.receive());
}

// The daemon is as it was before the test: it holds what it held and serves whoever comes.
class Unharmed {
 public:
  Unharmed(Machine& machine, const DaemonProcess& daemon)
      : machine_(machine), daemon_(daemon), descriptors_(daemon.idle_descriptors()) {}

  void check() {
    REQUIRE(daemon_.alive());
    CHECK(eventually([&] { return daemon_.descriptors() <= descriptors_; }));
    CHECK(daemon_.status().groups.empty());
    auto servers = start_instances(machine_, daemon_, 2, kAddress);
    UdpFlows flows(kAddress, 16);
    CHECK(flows.exchange(10));
    CHECK(daemon_.status().group(kGroup).home == flows.sent());
  }

 private:
  Machine& machine_;
  const DaemonProcess& daemon_;
  size_t descriptors_;
};

// Runs `body` as another user, in a process of its own; true if it came back with true.
bool as_nobody(const std::function<bool()>& body) {
  pid_t pid = checked(fork(), "fork");
  if (pid == 0) {
    bool became = setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
                  setresuid(kNobody, kNobody, kNobody) == 0;
    bool result = false;
    try {
      result = became && body();
    } catch (const std::exception&) {
    }
    _exit(result ? 0 : 1);
  }
  int status = 0;
  checked(waitpid(pid, &status, 0), "waitpid");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_SUITE("system") {
  // Without this the refusals below would show nothing: the message they are made from is good.
  TEST_CASE("the message that the others are made from is taken") {
    Machine machine;
    DaemonProcess daemon(machine);
    Fd socket = good_socket();
    Connection connection = Connection::to(daemon.socket());
    REQUIRE(connection.send(bytes_of(good_register()), {socket.get()}));
    auto packet = connection.receive();
    REQUIRE(packet.has_value());
    auto reply = packet->as<protocol::Reply>();
    CHECK(reply.error == 0);
    CHECK(reply.total == 2);
    CHECK(reply.instance == 0);
    CHECK(daemon.status().group(kGroup).members.size() == 1);
  }

  TEST_CASE("messages that are none") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    Fd socket = good_socket();
    std::string good = bytes_of(good_register());
    for (size_t length = 1; length < good.size(); length++) {
      check_malformed(daemon,
                      {"cut to " + std::to_string(length), good.substr(0, length), {socket.get()}});
    }
    auto kind = [](uint16_t number) {
      return changed([=](auto& m) { m.header.kind = static_cast<protocol::Kind>(number); });
    };
    std::vector<Bad> bads{
        {"a byte too long", good + "x", {}},
        {"as long as any message",
         good + std::string(protocol::kMaxMessage - good.size(), '\0'),
         {}},
        {"longer than any message", good + std::string(protocol::kMaxMessage, '\0'), {}},
        {"60 KB", good + std::string(60'000, 'x'), {}},
        {"noise", std::string(good.size(), '\xa5'), {}},
        {"zeros", std::string(good.size(), '\0'), {}},
        {"another magic", changed([](auto& m) { m.header.magic ^= 1; }), {}},
        {"version 0", changed([](auto& m) { m.header.version = 0; }), {}},
        {"the next version", changed([](auto& m) { m.header.version++; }), {}},
        {"version 65535", changed([](auto& m) { m.header.version = 65535; }), {}},
        {"a size too small", changed([](auto& m) { m.header.size--; }), {}},
        {"a size too large", changed([](auto& m) { m.header.size++; }), {}},
        {"a huge size", changed([](auto& m) { m.header.size = 0xffffffff; }), {}},
        {"a reserved field of the header", changed([](auto& m) { m.header.reserved = 1; }), {}},
        {"a reserved field at the end", changed([](auto& m) { m.reserved[3] = 1; }), {}},
        {"kind 0", kind(0), {}},
        {"kind 8", kind(8), {}},
        {"another kind's size", kind(static_cast<uint16_t>(protocol::Kind::Status)), {}},
        {"a reply", bytes_of(protocol::Reply{}), {}},
        {"a document", bytes_of(protocol::Document{}), {}},
        {"an event", bytes_of(protocol::Event{}), {}},
        {"kind 65535", kind(65535), {}},
    };
    for (Bad& bad : bads) {
      check_malformed(daemon, bad);
      bad.name += ", with a descriptor";
      bad.descriptors = {socket.get()};
      check_malformed(daemon, bad);
    }
    socket.reset();
    unharmed.check();
  }

  TEST_CASE("the wrong number of descriptors") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    Fd socket = good_socket();
    std::string good = bytes_of(good_register());
    std::string status = bytes_of(protocol::Status{});
    check_refused(daemon, {"none", good, {}});
    check_refused(daemon, {"two", good, {socket.get(), socket.get()}});
    check_refused(daemon, {"200", good, std::vector<int>(200, socket.get())});
    check_refused(daemon, {"status with one", status, {socket.get()}});
    check_refused(daemon, {"status with 200", status, std::vector<int>(200, socket.get())});
    socket.reset();
    unharmed.check();
  }

  TEST_CASE("registrations that make no sense") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    Fd socket = good_socket();
    auto refuse = [&](const char* name, const std::function<void(protocol::Register&)>& change) {
      check_refused(daemon, {name, changed(change), {socket.get()}});
    };
    refuse("no lineage", [](auto& m) { m.wanted.lineage = 0; });
    refuse("total 0", [](auto& m) { m.wanted.total = 0; });
    refuse("total 4097", [](auto& m) { m.wanted.total = 4097; });
    refuse("total 2^32-1", [](auto& m) { m.wanted.total = 0xffffffff; });
    refuse("instance 2 of 2", [](auto& m) { m.wanted.instance = 2; });
    refuse("instance 2^32-2", [](auto& m) { m.wanted.instance = 0xfffffffe; });
    refuse("elastic with a total", [](auto& m) { m.wanted.flags = protocol::kElastic; });
    refuse("weight 0", [](auto& m) { m.wanted.weight = 0; });
    refuse("weight 1001", [](auto& m) { m.wanted.weight = 1001; });
    refuse("weight 2^32-1", [](auto& m) { m.wanted.weight = 0xffffffff; });
    refuse("mode 6", [](auto& m) { m.wanted.mode = 6; });
    refuse("mode 255", [](auto& m) { m.wanted.mode = 255; });
    refuse("vacancy 3", [](auto& m) { m.wanted.vacancy = 3; });
    refuse("conflict 2", [](auto& m) { m.wanted.conflict = 2; });
    refuse("flags of the future", [](auto& m) { m.wanted.flags = 0x80; });
    socket.reset();
    unharmed.check();
  }

  TEST_CASE("descriptors that are no sockets to steer") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    {
      std::vector<std::pair<std::string, Fd>> bads;
      auto add = [&](const char* name, Fd fd) -> const Fd& {
        return bads.emplace_back(name, std::move(fd)).second;
      };
      std::string path = machine.file("regular");
      add("a file", Fd(checked(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600), path)));
      add("a directory", Fd(checked(open("/", O_RDONLY | O_CLOEXEC), "/")));
      add("a path", Fd(checked(open("/", O_PATH | O_CLOEXEC), "/")));
      add("/dev/null", Fd(checked(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null")));
      add("a memfd", Fd(checked(memfd_create("x", MFD_CLOEXEC), "memfd_create")));
      add("an epoll set", Fd(checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
      std::array<int, 2> ends{};
      checked(pipe2(ends.data(), O_CLOEXEC), "pipe2");
      add("the reading end of a pipe", Fd(ends[0]));
      add("the writing end of a pipe", Fd(ends[1]));
      add("a unix socket", make_socket(AF_UNIX, SOCK_DGRAM));
      add("a raw socket",
          Fd(checked(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP), "raw socket")));
      add("a netlink socket", make_socket(AF_NETLINK, SOCK_RAW));
      add("an unbound UDP socket", make_socket(AF_INET, SOCK_DGRAM));
      add("an unbound IPv6 socket", make_socket(AF_INET6, SOCK_DGRAM));
      set_reuseport(add("an unbound UDP socket with SO_REUSEPORT",  //
                        make_socket(AF_INET, SOCK_DGRAM)));
      bind_to(add("a UDP socket without SO_REUSEPORT", make_socket(AF_INET, SOCK_DGRAM)),
              "127.0.0.1:6001");
      const Fd& late = add("a UDP socket that got SO_REUSEPORT after its bind",
                           make_socket(AF_INET, SOCK_DGRAM));
      bind_to(late, "127.0.0.1:6002");
      set_reuseport(late);
      const Fd& connected = add("a connected UDP socket", make_socket(AF_INET, SOCK_DGRAM));
      set_reuseport(connected);
      bind_to(connected, "127.0.0.1:6003");
      Address peer("127.0.0.1:6004");
      checked(connect(connected.get(), peer.get(), peer.size()), "connect");
      const Fd& bound = add("a TCP socket that does not listen", make_socket(AF_INET, SOCK_STREAM));
      set_reuseport(bound);
      bind_to(bound, "127.0.0.1:6005");
      const Fd& listening =
          add("a TCP listener without SO_REUSEPORT", make_socket(AF_INET, SOCK_STREAM));
      bind_to(listening, "127.0.0.1:6006");
      checked(listen(listening.get(), 1), "listen");
      for (const auto& [name, fd] : bads) {
        check_refused(daemon, {name, bytes_of(good_register()), {fd.get()}});
      }
    }
    unharmed.check();
  }

  TEST_CASE("the control connection itself as the socket") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    {
      Connection connection = Connection::to(daemon.socket());
      REQUIRE(connection.send(bytes_of(good_register()), {connection.fd()}));
      check_refusal(connection.receive());
    }
    unharmed.check();
  }

  // Whose group a socket is in depends on who owns it, which is what the kernel goes by, and not on
  // who brings it: root hands over what another user opened, and it does not get into root's group.
  // The other way round a service that runs as its own user brings the socket that root opened for
  // it (socket activation), and it does get into root's.
  TEST_CASE("a socket's owner decides on its group, not the peer that brings it") {
    Machine machine;
    DaemonProcess daemon(machine);
    {
      UdpServer server(machine, {.id = 0,
                                 .addresses = {kAddress},
                                 .environment = daemon.environment("0/2"),
                                 .reuse = true});
      Fd other = socket_of_nobody();
      Connection connection = Connection::to(daemon.socket());
      REQUIRE(connection.send(changed([](auto& m) { m.wanted.instance = 1; }), {other.get()}));
      REQUIRE(connection.receive().has_value());
      Document status = daemon.status();
      const GroupStatus* group = status.of_user(0);
      REQUIRE(group != nullptr);
      CHECK(group->members.size() == 1);
      CHECK(group->members.front().pid == server.process().pid());
    }
    REQUIRE(eventually([&] { return nobody_is_in(daemon.status()); }));

    Fd socket = good_socket();
    CHECK(as_nobody([&] {
      Connection connection = Connection::to(daemon.socket());
      connection.send(bytes_of(good_register()), {socket.get()});
      auto packet = connection.receive();
      return packet && packet->as<protocol::Reply>().error == 0;
    }));
    Document status = daemon.status();
    const GroupStatus* group = status.of_user(0);
    REQUIRE(group != nullptr);
    CHECK(group->members.size() == 1);
    CHECK((status.of_user(kNobody) == nullptr || status.of_user(kNobody)->members.empty()));
  }

  TEST_CASE("peers that connect and say nothing, or leave in the middle") {
    Machine machine;
    DaemonProcess daemon(machine);
    Unharmed unharmed(machine, daemon);
    Fd socket = good_socket();
    {
      std::vector<Connection> silent;
      silent.reserve(300);
      for (int i = 0; i < 300; i++) silent.push_back(Connection::to(daemon.socket()));
      CHECK(daemon.status().groups.empty());
      // They ask and go before the answer.
      for (const Connection& connection : silent) connection.send(bytes_of(protocol::Status{}));
    }
    CHECK(daemon.status().groups.empty());
    socket.reset();
    unharmed.check();
  }

  // A follower is sent events for as long as it stays; one that never reads must not hold anything
  // up.
  TEST_CASE("a follower that does not read") {
    Machine machine;
    DaemonProcess daemon(machine);
    Connection follower = Connection::to(daemon.socket());
    REQUIRE(follower.send(bytes_of(protocol::Follow{})));
    for (int i = 0; i < 50; i++) {
      UdpServer server(
          machine, {.id = 0, .addresses = {kAddress}, .environment = daemon.environment("0/2")});
      CHECK(server.process().err().empty());
    }
    CHECK(daemon.alive());
  }
}

}  // namespace
}  // namespace subset::test
