// SPDX-License-Identifier: MIT
// An operator changes a group while it works: weights, drains, resumes and modes.
//
// A drain takes a member out of the table, but not out of the kernel: what waits in its queue is
// read. A change of mode is another program, made and filled aside and put in place by one store.
// So nothing may be lost, by any of it, whatever the moment: 100 changes, one after the other,
// while 20,000 datagrams a second and 500 connections a second arrive, and each one is answered.
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kUdp[] = "udp/127.0.0.1:7000";
constexpr char kTcp[] = "tcp/127.0.0.1:7000";
constexpr uint32_t kInstances = 4;
constexpr int kChanges = 100;

// 100 flows each 5 ms: 20,000 datagrams a second.
constexpr uint32_t kFlows = 100;
constexpr auto kRound = 5ms;

// One connection after the other, at a steady rate, on a thread of its own.
class PacedConnections {
 public:
  PacedConnections() : thread_([this] { work(); }) {}
  ~PacedConnections() { stop(); }

  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint32_t made() const { return made_; }
  uint32_t answered() const { return answered_; }

 private:
  void work() {
    const Address address(kAddress);
    for (auto next = Clock::now(); !stopping_; next += 2ms) {
      std::this_thread::sleep_until(next);
      TcpClient client(address);
      made_++;
      if (client.server()) answered_++;
    }
  }

  std::atomic<bool> stopping_ = false;
  std::atomic<uint32_t> made_ = 0;
  std::atomic<uint32_t> answered_ = 0;
  std::thread thread_;
};

// Changes of both groups, drawn at random, that never drain all instances at once.
class Hand {
 public:
  explicit Hand(const DaemonProcess& daemon) : daemon_(daemon) {}

  void change_something() {
    const bool udp = random_() % 2 == 0;
    std::optional<uint32_t>& drained = udp ? drained_udp_ : drained_tcp_;
    tell(daemon_, udp ? kUdp : kTcp, next_order(udp, drained));
  }

 private:
  Order next_order(bool udp, std::optional<uint32_t>& drained) {
    const auto instance = static_cast<uint32_t>(random_() % kInstances);
    switch (random_() % 3) {
      case 0:
        return weight(instance, 1 + static_cast<uint32_t>(random_() % kMaxWeight));
      case 1:
        return mode(udp ? kUdpModes[random_() % kUdpModes.size()]
                        : kTcpModes[random_() % kTcpModes.size()]);
      default:
        if (drained) return resume(*std::exchange(drained, std::nullopt));
        return drain(*(drained = instance));
    }
  }

  static constexpr std::array kUdpModes{Mode::Hash, Mode::Source, Mode::Random, Mode::Cpu,
                                        Mode::Numa};
  static constexpr std::array kTcpModes{Mode::Hash, Mode::Source, Mode::Cpu, Mode::Numa,
                                        Mode::Least};

  const DaemonProcess& daemon_;
  std::mt19937 random_{3};
  std::optional<uint32_t> drained_udp_;
  std::optional<uint32_t> drained_tcp_;
};

// One datagram from a 4-tuple of its own, each time; nobody waits for the answers, because what is
// looked at is whom the kernel chose.
void send_from_everywhere(const Address& server, uint32_t flows) {
  constexpr uint32_t kPortsEach = 10'000;
  constexpr in_port_t kFirstPort = 20'000;
  for (uint32_t i = 0; i < flows; i++) {
    Fd socket(checked(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    sockaddr_in from{.sin_family = AF_INET,
                     .sin_port = htons(static_cast<in_port_t>(kFirstPort + i % kPortsEach)),
                     .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK + 1 + i / kPortsEach)}};
    checked(bind(socket.get(), reinterpret_cast<sockaddr*>(&from), sizeof from), "bind a client");
    checked(sendto(socket.get(), "?", 1, 0, server.get(), server.size()), "send");
  }
}

TEST_SUITE("system") {
  TEST_CASE("100 changes under load: sent equals answered") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto datagram_servers = start_instances(machine, daemon, kInstances, kAddress);
    auto stream_servers = start_tcp_instances(
        machine, daemon.socket(),
        {.total = kInstances, .address = kAddress, .environment = {}, .arguments = {}});
    UdpFlows flows(kAddress, kFlows);
    REQUIRE(flows.exchange(1));

    const auto begin = Clock::now();
    PacedLoad datagrams(flows, kRound);
    PacedConnections connections;
    Hand hand(daemon);
    for (int i = 0; i < kChanges; i++) {
      datagrams.wait_rounds(8);
      hand.change_something();
    }
    datagrams.wait_rounds(8);
    const std::chrono::duration<double> took = Clock::now() - begin;
    connections.stop();
    datagrams.stop();

    MESSAGE((static_cast<double>(flows.sent()) / took.count()), " datagrams and ",
            (connections.made() / took.count()), " connections a second");
    CHECK(flows.answered() == flows.sent());
    CHECK(flows.oddities() == 0);
    CHECK(connections.made() > 0);
    CHECK(connections.answered() == connections.made());
    Document status = daemon.status();
    CHECK(status.group(kUdp).selected() == flows.sent());
    CHECK(status.group(kTcp).selected() == connections.made());
    for (const char* group : {kUdp, kTcp}) {
      CAPTURE(group);
      CHECK(status.group(group).kernel == 0);
      CHECK(status.group(group).refused == 0);
      CHECK(status.group(group).alternative == 0);
    }
  }

  // 400,000 flows, because of 100,000 the smallest share has a standard deviation of 0.8% of
  // itself, and the limit of 2% would be chance's, once in sixty runs.
  TEST_CASE("weights 1, 2 and 5: shares within 2%") {
    constexpr uint32_t kMany = 400'000;
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 3, kAddress);
    const std::array<uint32_t, 3> weights{1, 2, 5};
    for (uint32_t i = 0; i < 3; i++) tell(daemon, kUdp, weight(i, weights[i]));
    send_from_everywhere(Address(kAddress), kMany);
    Document status = daemon.status();
    const GroupStatus& group = status.group(kUdp);
    CHECK(group.home == kMany);
    for (uint32_t i = 0; i < 3; i++) {
      CAPTURE(i);
      const MemberStatus* member = group.of(i);
      REQUIRE(member != nullptr);
      CHECK(member->weight == weights[i]);
      const double ideal = kMany * weights[i] / 8.0;
      MESSAGE("weight ", weights[i], ": ", (static_cast<double>(member->selected) / ideal),
              " of its share");
      CHECK(member->selected == doctest::Approx(ideal).epsilon(0.02));
    }
  }

  TEST_CASE("a change counts for the next packet") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    UdpFlows flows(kAddress, 64);
    for (int i = 0; i < 20; i++) {
      CAPTURE(i);
      const auto drained = static_cast<uint32_t>(i % 2);
      tell(daemon, kUdp, drain(drained));
      REQUIRE(flows.exchange(1));
      for (uint32_t owner : flows.owners()) CHECK(owner == 1 - drained);
      tell(daemon, kUdp, resume(drained));
    }
    REQUIRE(flows.exchange(1));
    const auto owners = flows.owners();
    CHECK(std::set<uint32_t>(owners.begin(), owners.end()).size() == 2);
  }
}

}  // namespace
}  // namespace subset::test
