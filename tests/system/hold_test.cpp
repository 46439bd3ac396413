// SPDX-License-Identifier: MIT
// Servers that are killed and started again find their sockets as they left them (vacancy `hold`).
//
// What a process has read is its own, and goes with it. So that exactly zero may be lost, a server
// is stopped before it is killed, and only where it stands in its wait for the next datagram or
// connection: then it has answered all that it took. Clients go on meanwhile, so that something is
// queued each time: a server that is idle when it is killed loses nothing whatever one does. The
// same with vacancy `spread` shows what is lost otherwise.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/length.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/real_servers.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kUdp[] = "127.0.0.1:5353";
constexpr char kUdpGroup[] = "udp/127.0.0.1:5353";
constexpr char kTcp[] = "127.0.0.1:8080";
constexpr char kTcpGroup[] = "tcp/127.0.0.1:8080";
constexpr uint32_t kInstances = 4;
constexpr uint32_t kRounds = 50;
constexpr uint32_t kFlows = 64;
constexpr uint32_t kClientsAtOnce = 12;

Environment holding(const DaemonProcess& daemon, const std::string& share) {
  Environment environment = daemon.environment(share);
  environment["SUBSET_VACANCY"] = "hold";
  return environment;
}

std::string share_of(uint32_t instance) {
  return std::to_string(instance) + "/" + std::to_string(kInstances);
}

UdpServer start_udp(Machine& machine, const Environment& environment, uint32_t id,
                    std::optional<uid_t> user = {}) {
  return UdpServer(machine,
                   {.id = id, .addresses = {kUdp}, .environment = environment, .user = user});
}

TcpServer start_tcp(Machine& machine, const Environment& environment, uint32_t id) {
  return TcpServer(
      machine,
      {.id = id, .address = kTcp, .environment = environment, .arguments = {}, .user = {}});
}

const MemberStatus* held_of(const GroupStatus& group, uint32_t instance) {
  auto found = std::ranges::find_if(group.members, [&](const MemberStatus& member) {
    return member.instance == instance && member.state == "held";
  });
  return found == group.members.end() ? nullptr : &*found;
}

bool is_held(const DaemonProcess& daemon, const char* id, uint32_t instance) {
  Document status = daemon.status();
  return held_of(status.group(id), instance) != nullptr;
}

void connect_some(std::vector<TcpClient>& clients) {
  const Address address(kTcp);
  for (uint32_t i = 0; i < kClientsAtOnce; i++) clients.emplace_back(address);
}

// Clients that nobody served.
uint32_t unserved(std::vector<TcpClient>& clients) {
  return static_cast<uint32_t>(
      std::ranges::count_if(clients, [](TcpClient& client) { return !client.server(); }));
}

struct Losses {
  size_t datagrams = 0;
  uint32_t connections = 0;
  uint64_t queued = 0;  // datagrams that waited when their server was killed, in all rounds
};

// Kills the instances in turn, one UDP and one TCP server each time, under load.
Losses kill_and_start(Machine& machine, const DaemonProcess& daemon, const std::string& vacancy,
                      uint32_t rounds) {
  const auto environment = [&](uint32_t instance) {
    Environment result = daemon.environment(share_of(instance));
    result["SUBSET_VACANCY"] = vacancy;
    return result;
  };
  std::vector<UdpServer> udp;
  std::vector<TcpServer> tcp;
  for (uint32_t i = 0; i < kInstances; i++) {
    udp.push_back(start_udp(machine, environment(i), i));
    tcp.push_back(start_tcp(machine, environment(i), i));
  }
  Losses losses;
  UdpFlows flows(kUdp, kFlows);
  PacedLoad load(flows);
  load.wait_rounds(2);
  for (uint32_t round = 0; round < rounds; round++) {
    const uint32_t victim = round % kInstances;
    std::vector<TcpClient> clients;
    udp[victim].process().stop_in(SYS_ppoll);
    tcp[victim].process().stop_in(SYS_poll);
    connect_some(clients);
    load.wait_rounds(2);
    Document status = daemon.status();
    if (const MemberStatus* member = status.group(kUdpGroup).of(victim))
      losses.queued += member->queue_bytes != 0;
    udp[victim].process().kill9();
    tcp[victim].process().kill9();
    connect_some(clients);
    udp[victim] = start_udp(machine, environment(victim), victim);
    tcp[victim] = start_tcp(machine, environment(victim), victim);
    losses.connections += unserved(clients);
  }
  load.stop();
  losses.datagrams = flows.lost().size();
  CHECK(flows.oddities() == 0);
  return losses;
}

// A Python program that binds a UDP socket as `setup` says, and prints what `report` says of it and
// how many datagrams it finds.
std::vector<std::string> python_receiver(const std::string& setup, const std::string& report) {
  return {"/usr/bin/python3", "-c",
          "import socket,fcntl,os\n"
          "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n" +
              setup +
              "\ns.bind(('127.0.0.1',5353))\n"
              "print('ready',flush=True)\n" +
              report +
              "\nn=0\ns.settimeout(0.3)\n"
              "try:\n"
              "  while True:\n"
              "    s.recv(100); n+=1\n"
              "except TimeoutError: pass\n"
              "print('found',n,flush=True)\n"};
}

// A server that nobody modified, and a question that it answers.
struct RealServer {
  std::string name;
  std::vector<std::string> argv;
  std::string address;
  int type = SOCK_STREAM;
  std::string question;
  std::string answer;  // a part of it
};

std::string nginx_prefix(Machine& machine) {
  const std::string prefix = machine.file("nginx");
  std::filesystem::create_directory(prefix);
  std::ofstream(prefix + "/nginx.conf")
      << "daemon off; master_process off; error_log stderr; pid nginx.pid; events {}\n"
         "http { access_log off; client_body_temp_path b; proxy_temp_path p;\n"
         "fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
         "server { listen 127.0.0.1:8080; location / { return 200 'hello'; } } }\n";
  return prefix;
}

std::vector<RealServer> real_servers(Machine& machine) {
  const std::string dns_question("\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1", 24);
  const std::string prefix = nginx_prefix(machine);
  std::vector<std::string> dnsmasq = dnsmasq_command();
  dnsmasq.emplace_back("--user=root");
  const std::vector<std::string> memcached = {
      "/usr/bin/memcached", "-u", "root", "-l", "127.0.0.1", "-p", "11211", "-U", "11211"};
  return {
      {"dnsmasq", dnsmasq, kDnsAddress, SOCK_DGRAM, dns_question, "\x12\x34"},
      {"memcached, UDP", memcached, "127.0.0.1:11211", SOCK_DGRAM,
       std::string("\0\1\0\0\0\1\0\0version\r\n", 17), "VERSION"},
      {"memcached, TCP", memcached, "127.0.0.1:11211", SOCK_STREAM, "version\r\n", "VERSION"},
      {"nginx",
       {"/usr/sbin/nginx", "-p", prefix, "-c", prefix + "/nginx.conf", "-e", "stderr"},
       "127.0.0.1:8080",
       SOCK_STREAM,
       "GET / HTTP/1.0\r\n\r\n",
       "hello"},
      {"redis",
       {"/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", "6379", "--save", "", "--dir",
        machine.file("")},
       "127.0.0.1:6379",
       SOCK_STREAM,
       "PING\r\n",
       "PONG"},
  };
}

// Connects and asks; the kernel takes both while a server is away that is held.
Fd put_question(const RealServer& server) {
  const Address address(server.address);
  Fd client(checked(socket(AF_INET, server.type | SOCK_CLOEXEC, 0), "socket"));
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  checked(setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "timeout");
  if (connect(client.get(), address.get(), address.size()) != 0) return {};
  if (send(client.get(), server.question.data(), server.question.size(), MSG_NOSIGNAL) < 0)
    return {};
  return client;
}

bool is_answered(const Fd& client, const RealServer& server) {
  std::string text(4096, '\0');
  const ssize_t got = client ? recv(client.get(), text.data(), text.size(), 0) : -1;
  return got > 0 && text.substr(0, static_cast<size_t>(got)).find(server.answer) != text.npos;
}

void kill_real_server(Machine& machine, const DaemonProcess& daemon, const RealServer& real) {
  const int times = long_run() ? 50 : 3;
  constexpr int kQuestions = 20;  // before it is killed, and again behind
  const Command command{.argv = real.argv, .environment = holding(daemon, "0/1")};
  Process server(machine, command);
  INFO(server.err());
  REQUIRE(eventually([&] { return is_answered(put_question(real), real); }));
  for (int round = 0; round < times; round++) {
    std::vector<Fd> clients;
    server.stop();
    for (int i = 0; i < kQuestions; i++) clients.push_back(put_question(real));
    server.kill9();
    for (int i = 0; i < kQuestions; i++) clients.push_back(put_question(real));
    server = Process(machine, command);
    CHECK(std::ranges::count_if(clients,
                                [&](const Fd& client) { return !is_answered(client, real); }) == 0);
  }
}

TEST_SUITE("system") {
  TEST_CASE("dnsmasq, memcached, nginx and redis, killed with their queues full") {
    Machine machine;
    DaemonProcess daemon(machine);
    for (const RealServer& real : real_servers(machine)) {
      CAPTURE(real.name);
      kill_real_server(machine, daemon, real);
      for (const GroupStatus& group : daemon.status().groups)
        (void)ask(daemon, group.id, {.verb = protocol::Verb::Release});
    }
  }

  TEST_CASE("kill -9 and start, 50 times under load: nothing is lost") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Losses losses = kill_and_start(machine, daemon, "hold", kRounds);
    CHECK(losses.datagrams == 0);
    CHECK(losses.connections == 0);
    CHECK(losses.queued == kRounds);
    // The servers have ended with the rounds.
    for (const char* id : {kUdpGroup, kTcpGroup}) {
      for (uint32_t i = 0; i < kInstances; i++)
        CHECK(eventually([&] { return is_held(daemon, id, i); }));
      Document status = daemon.status();
      const GroupStatus& group = status.group(id);
      CHECK(group.members.size() == kInstances);
      CHECK(group.alternative == 0);
      CHECK(group.kernel == 0);
    }
  }

  TEST_CASE("the same with spread loses what was queued") {
    Machine machine;
    DaemonProcess daemon(machine);
    const Losses losses = kill_and_start(machine, daemon, "spread", 5);
    MESSAGE("spread: ", losses.datagrams, " datagrams lost in 5 rounds");
    CHECK(losses.datagrams > 0);
    CHECK(losses.connections == 0);  // these move to other listeners
  }

  // 5,000 datagrams: twenty times what the buffer of a server takes that may not ask for more.
  TEST_CASE("a held socket takes more than its server's buffer, and gives the room back") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_udp(machine, holding(daemon, "0/1"), 0, kNobody);
    UdpFlows flows(kUdp, 50);
    REQUIRE(flows.exchange(2));
    const auto limit = [&] {
      Document status = daemon.status();
      return status.group(kUdpGroup).members.at(0).queue_limit_bytes;
    };
    const uint64_t own = limit();
    server.process().kill9();
    REQUIRE(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
    Document status = daemon.status();
    CHECK_FALSE(status.group(kUdpGroup).members.at(0).pid.has_value());
    CHECK(limit() >= (16u << 20));
    for (int i = 0; i < 100; i++) flows.send_round();
    UdpServer again = start_udp(machine, holding(daemon, "0/1"), 0, kNobody);
    flows.drain(2s);
    CHECK(flows.lost().empty());
    CHECK(eventually([&] { return limit() == own; }));
    CHECK(daemon.status().group(kUdpGroup).of(0)->pid == again.process().pid());
  }

  // Options before bind, flags of the descriptor, and what the socket of the dead one had and this
  // one does not want.
  TEST_CASE("the held socket becomes what the new process asked for") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process first(machine,
                  {.argv = python_receiver("s.setsockopt(0,1,40)\n"
                                           "s.setsockopt(1,6,1)",  // IP_TOS, SO_BROADCAST
                                           "import time; time.sleep(60)"),
                   .environment = holding(daemon, "0/1")});
    REQUIRE(first.wrote("ready"));
    first.kill9();
    UdpFlows flows(kUdp, 1);
    for (int i = 0; i < 7; i++) flows.send_round();
    auto second =
        run(machine,
            {.argv = python_receiver("s.setsockopt(0,2,9)\n"  // IP_TTL
                                     "s.setsockopt(1,8,50000)\n"
                                     "s.setblocking(False)",
                                     "print(s.getsockopt(0,1),s.getsockopt(0,2),s.getsockopt(1,6),"
                                     "s.getsockopt(1,8),fcntl.fcntl(s,fcntl.F_GETFL)&os.O_NONBLOCK,"
                                     "fcntl.fcntl(s,fcntl.F_GETFD))"),
             .environment = holding(daemon, "0/1")});
    INFO(second.out, second.err);
    CHECK(lines_with(second.out, "0 9 0 100000 2048 1").size() == 1);
    CHECK(lines_with(second.out, "found 7").size() == 1);
  }

  TEST_CASE("a server that takes any vacant instance gets the held one") {
    for (const std::string share : {"auto/4", "auto"}) {
      CAPTURE(share);
      Machine machine;
      DaemonProcess daemon(machine);
      std::vector<UdpServer> servers;
      for (uint32_t i = 0; i < 3; i++)
        servers.push_back(start_udp(machine, holding(daemon, share), i));
      UdpFlows flows(kUdp, kFlows);
      REQUIRE(flows.exchange(2));
      servers[1].process().kill9();
      flows.send_round();
      servers[1] = start_udp(machine, holding(daemon, share), 1);
      flows.drain();
      CHECK(flows.lost().empty());
      Document status = daemon.status();
      CHECK(status.group(kUdpGroup).active() == 3);
      CHECK(status.group(kUdpGroup).of(1)->pid == servers[1].process().pid());
    }
  }

  // A rolling restart, the way without hold: the old one is alive, so nothing is handed over.
  TEST_CASE("a newcomer takes a living instance over as usual") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer old = start_udp(machine, holding(daemon, "0/1"), 0);
    UdpFlows flows(kUdp, kFlows);
    REQUIRE(flows.exchange(2));
    old.process().signal(SIGSTOP);
    flows.send_round();
    UdpServer young = start_udp(machine, holding(daemon, "0/1"), 100);
    flows.send_round();
    old.process().signal(SIGCONT);
    flows.drain();
    CHECK(flows.lost().empty());
    CHECK(flows.servers(0) == std::set<uint32_t>{0, 100});
    old.process().kill9();
    CHECK(eventually([&] { return daemon.status().group(kUdpGroup).members.size() == 1; }));
    CHECK(daemon.status().group(kUdpGroup).of(0)->pid == young.process().pid());
  }

  // Clients in the queue of a listener that nobody came for move to another, as if it had died.
  TEST_CASE("an operator releases what is held") {
    Machine machine;
    DaemonProcess daemon(machine);
    std::vector<TcpServer> servers;
    for (uint32_t i = 0; i < kInstances; i++)
      servers.push_back(start_tcp(machine, holding(daemon, share_of(i)), i));
    CHECK(ask(daemon, kTcpGroup, {.verb = protocol::Verb::Release, .instance = 2}).error == ENOENT);
    servers[2].process().kill9();
    REQUIRE(eventually([&] { return is_held(daemon, kTcpGroup, 2); }));
    std::vector<TcpClient> clients;
    for (int i = 0; i < 5; i++) connect_some(clients);
    CHECK(ask(daemon, kTcpGroup, {.verb = protocol::Verb::Release, .instance = 2}, kNobody).error ==
          EPERM);
    tell(daemon, kTcpGroup, {.verb = protocol::Verb::Release, .instance = 2});
    CHECK(unserved(clients) == 0);
    CHECK_FALSE(is_held(daemon, kTcpGroup, 2));
    CHECK(daemon.err().find("released") != std::string::npos);
  }

  TEST_CASE("nobody comes: it is over after the time that was configured") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off", "[hold]\nseconds = 1\n");
    std::vector<UdpServer> servers;
    for (uint32_t i = 0; i < 2; i++)
      servers.push_back(start_udp(machine, holding(daemon, std::to_string(i) + "/2"), i));
    servers[1].process().kill9();
    REQUIRE(eventually([&] { return is_held(daemon, kUdpGroup, 1); }));
    REQUIRE(eventually([&] { return !is_held(daemon, kUdpGroup, 1); }));
    UdpFlows flows(kUdp, kFlows);
    CHECK(flows.exchange(2));
    for (uint32_t owner : flows.owners()) CHECK(owner == 0);
    CHECK(daemon.err().find("nobody came for it within 1 s") != std::string::npos);
  }

  TEST_CASE("beyond the quota sockets end with their server, and it is told so") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off",
                         "[quotas]\nheld_sockets = 1\n");
    UdpServer kept = start_udp(machine, holding(daemon, "0/2"), 0, kNobody);
    UdpServer other = start_udp(machine, holding(daemon, "1/2"), 1, kNobody);
    CHECK(kept.process().err().empty());
    CHECK(other.process().err().find("will not be held") != std::string::npos);
    other.process().kill9();
    kept.process().kill9();
    CHECK(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
    CHECK_FALSE(is_held(daemon, kUdpGroup, 1));
  }

  // A child of the server has the socket still: the server's end is none of the socket's.
  TEST_CASE("what a child still serves is not held until the child has gone too") {
    Machine machine;
    DaemonProcess daemon(machine);
    Process parent(machine, {.argv = {"/usr/bin/python3", "-c",
                                      "import socket,os,time\n"
                                      "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
                                      "s.bind(('127.0.0.1',5353))\n"
                                      "child=os.fork()\n"
                                      "if child: print(child,'child',flush=True)\n"
                                      "time.sleep(60)\n"},
                             .environment = holding(daemon, "0/1")});
    REQUIRE(parent.wrote("child"));
    const pid_t child = std::stoi(parent.out());
    parent.kill9();
    CHECK(eventually([&] {
      Document status = daemon.status();
      return !status.group(kUdpGroup).of(0)->pid.has_value();
    }));
    CHECK_FALSE(is_held(daemon, kUdpGroup, 0));
    kill(child, SIGKILL);
    CHECK(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
  }

  TEST_CASE("a daemon that was restarted says that it holds nothing of what it found") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_udp(machine, holding(daemon, "0/1"), 0);
    daemon.kill9();
    daemon.start();
    CHECK(lines_with(daemon.err(), "are not held").size() == 1);
    server.process().kill9();
    CHECK(eventually([&] { return daemon.status().group(kUdpGroup).active() == 0; }));
    CHECK_FALSE(is_held(daemon, kUdpGroup, 0));
    UdpServer again = start_udp(machine, holding(daemon, "0/1"), 0);
    again.process().kill9();
    CHECK(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
  }

  // The daemon goes by the socket's owner and by who asks: possession of a descriptor is not
  // enough.
  TEST_CASE("another user gets no held socket") {
    Machine machine;
    DaemonProcess daemon(machine);
    UdpServer server = start_udp(machine, holding(daemon, "0/1"), 0);
    server.process().kill9();
    REQUIRE(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
    const Address address(kUdp);
    protocol::Reclaim question;
    question.wanted = {.lineage = 77, .total = 1, .weight = 100};
    question.port = 5353;
    const uint8_t loopback[] = {127, 0, 0, 1};
    std::memcpy(question.address, loopback, sizeof loopback);
    const Fd of_root(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto answer = [&](int descriptor) {
      Connection connection = Connection::to(daemon.socket());
      connection.send(bytes_of(question), {descriptor});
      return connection.receive();
    };
    std::optional<Packet> with_own;
    std::optional<Packet> with_roots;
    std::thread([&] {
      checked(syscall(SYS_setresuid, kNobody, kNobody, kNobody), "setresuid");
      const Fd own(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      with_own = answer(own.get());
      with_roots = answer(of_root.get());
    }).join();
    REQUIRE(with_own);
    CHECK(with_own->descriptors.empty());
    CHECK(with_own->as<protocol::Reply>().error == ENOENT);  // that user's groups are others
    REQUIRE(with_roots);
    CHECK(with_roots->descriptors.empty());
    CHECK(with_roots->as<protocol::Reply>().error == EPERM);
    CHECK(is_held(daemon, kUdpGroup, 0));

    auto given = answer(of_root.get());
    REQUIRE(given);
    CHECK(given->as<protocol::Reply>().error == 0);
    CHECK(given->descriptors.size() == 1);
    CHECK_FALSE(is_held(daemon, kUdpGroup, 0));
    // Whoever got it does not serve, and nobody has it once the message is gone.
    given.reset();
    CHECK(eventually([&] { return is_held(daemon, kUdpGroup, 0); }));
  }
}

}  // namespace
}  // namespace subset::test
