// SPDX-License-Identifier: MIT
// least mode: a new connection goes to the member with the fewest open ones, for its weight. The
// kernel counts: up when a handshake is complete, down when the server's socket is closed for good,
// whoever closed it and even if the server has gone.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <queue>
#include <random>
#include <vector>

#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include "bpf/layout.h"
#include "daemon/base/fd.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/kernel_objects.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:8080";
constexpr char kGroup[] = "tcp/127.0.0.1:8080";
constexpr char kHashAddress[] = "127.0.0.1:8081";
constexpr char kHashGroup[] = "tcp/127.0.0.1:8081";
constexpr uint32_t kInstances = 8;
constexpr uint32_t kVictim = 3;

TcpInstances keeping(const std::string& address, const std::string& mode) {
  return {.total = kInstances,
          .address = address,
          .environment = {{"SUBSET_MODE", mode}},
          .arguments = {"--keep"}};
}

// Connections that stay open, and who accepted each.
struct Held {
  std::vector<TcpClient> clients;
  std::vector<uint32_t> servers;

  void add(uint32_t count) {
    const Address address(kAddress);
    for (uint32_t i = 0; i < count; i++) {
      clients.emplace_back(address);
      auto server = clients.back().server();
      REQUIRE(server.has_value());
      servers.push_back(*server);
    }
  }

  Tally tally() const {
    Tally result;
    for (uint32_t server : servers) result[server]++;
    return result;
  }

  // Closes those that somebody else than `server` accepted.
  void close_all_but(uint32_t server) {
    for (size_t i = clients.size(); i-- > 0;) {
      if (servers[i] == server) continue;
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i));
      servers.erase(servers.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
};

// Open connections by instance, as the daemon shows them; 0 is left out.
Tally open_connections(const DaemonProcess& daemon, const char* group = kGroup) {
  Tally result;
  Document status = daemon.status();
  for (const MemberStatus& member : status.group(group).members) {
    if (member.open_connections > 0)
      result[member.instance] += static_cast<uint32_t>(member.open_connections);
  }
  return result;
}

bool shows(const DaemonProcess& daemon, const Tally& expected) {
  return eventually([&] { return open_connections(daemon) == expected; });
}

// Leaves `left` counters of open connections that are 0, and so to be had. The others are as if
// connections of listeners that have closed were still open.
void occupy_counters(const DaemonProcess& daemon, uint32_t left) {
  const Fd map(bpf_obj_get(shared_pin(daemon, "open_connections").c_str()));
  REQUIRE(map);
  std::vector<uint64_t> counters(SUBSET_COUNTERS, 1);
  std::fill_n(counters.begin(), 1 + left, 0);  // the first one is nobody's
  const uint32_t zero = 0;
  REQUIRE(bpf_map_update_elem(map.get(), &zero, counters.data(), BPF_ANY) == 0);
}

uint64_t selected(const DaemonProcess& daemon, uint32_t instance) {
  Document status = daemon.status();
  const MemberStatus* member = status.group(kGroup).of(instance);
  REQUIRE(member != nullptr);
  return member->selected;
}

// --- random lifetimes ---------------------------------------------------------------------------

// Opens connections at a steady rate, and closes each after a lifetime drawn at random: between
// 1 ms and 10 s, each order of magnitude as likely as any other.
class Arrivals {
 public:
  explicit Arrivals(const char* address) : address_(address) {}

  // Opens and closes what is due.
  void step(Clock::time_point now) {
    while (!open_.empty() && open_.top().first <= now) {
      clients_.erase(open_.top().second);
      open_.pop();
    }
    for (; next_ <= now; next_ += kPeriod) {
      if (!clients_.try_emplace(made_, address_).second) FAIL("no number is used twice");
      CHECK(clients_.at(made_).error() == 0);
      open_.emplace(now + lifetime(), made_++);
    }
  }
  void close_all() { clients_.clear(); }
  uint64_t made() const { return made_; }

 private:
  static constexpr auto kPeriod = 2ms;
  using Due = std::pair<Clock::time_point, uint64_t>;

  Clock::duration lifetime() {
    std::uniform_real_distribution<> exponent(-3.0, 1.0);
    return std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(std::pow(10.0, exponent(random_))));
  }

  Address address_;
  std::mt19937 random_{1};
  Clock::time_point next_ = Clock::now();
  uint64_t made_ = 0;
  std::map<uint64_t, TcpClient> clients_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> open_;
};

// Largest over mean of open connections.
double imbalance(const DaemonProcess& daemon, const char* group) {
  const Tally open = open_connections(daemon, group);
  uint64_t sum = 0;
  uint64_t largest = 0;
  for (const auto& [instance, count] : open) {
    sum += count;
    largest = std::max<uint64_t>(largest, count);
  }
  REQUIRE(sum > 0);
  return static_cast<double>(largest * kInstances) / static_cast<double>(sum);
}

struct Imbalance {
  double largest = 0;
  double sum = 0;
  int samples = 0;

  void add(double value) {
    largest = std::max(largest, value);
    sum += value;
    samples++;
  }
  double mean() const { return sum / samples; }
};

TEST_SUITE("system") {
  // The stalled server still holds its connections, so it has the most; its listener's queue, which
  // is what the kernel's own hash would fill on, stays empty.
  TEST_CASE("new connections avoid a server that is stalled") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(), keeping(kAddress, "least"));
    Held held;
    held.add(160);
    Tally even;
    for (uint32_t i = 0; i < kInstances; i++) even[i] = 20;
    CHECK(held.tally() == even);

    servers[kVictim].process().signal(SIGSTOP);
    const uint64_t before = selected(daemon, kVictim);
    held.close_all_but(kVictim);
    CHECK(shows(daemon, {{kVictim, 20}}));
    for (int i = 0; i < 100; i++) {
      Held more;
      more.add(10);
      CHECK(!more.tally().contains(kVictim));
      more.close_all_but(kVictim);
    }
    CHECK(selected(daemon, kVictim) == before);
    held.clients.clear();
    servers[kVictim].process().signal(SIGCONT);
    CHECK(shows(daemon, {}));
  }

  TEST_CASE("twice the weight, twice the connections") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(), keeping(kAddress, "least"));
    tell(daemon, kGroup, weight(0, 200));
    Held held;
    held.add(180);
    Tally expected;
    for (uint32_t i = 0; i < kInstances; i++) expected[i] = i == 0 ? 40 : 20;
    CHECK(held.tally() == expected);
  }

  // What is counted is compared with what the clients know: after a server has crashed with its
  // connections open, after the daemon has been killed and comes back, and at the end.
  TEST_CASE("the counts are right after a crash, after a restart of the daemon, and at the end") {
    Machine machine;
    DaemonProcess daemon(machine);
    const TcpInstances how = keeping(kAddress, "least");
    auto servers = start_tcp_instances(machine, daemon.socket(), how);
    Held held;
    held.add(200);
    CHECK(shows(daemon, held.tally()));

    servers[kVictim].process().kill9();
    Tally without = held.tally();
    without.erase(kVictim);
    CHECK(shows(daemon, without));

    daemon.kill9();
    daemon.start();
    CHECK(shows(daemon, without));

    // The newcomer has none, so it gets all until it has as many as the others.
    servers[kVictim] = start_tcp_instance(machine, daemon.socket(), kVictim, how);
    Held more;
    more.add(25);
    CHECK(more.tally() == Tally{{kVictim, 25}});

    held.clients.clear();
    CHECK(shows(daemon, more.tally()));
    more.clients.clear();
    CHECK(shows(daemon, {}));
  }

  // Connections that waited in a queue are counted for the listener that they moved to.
  TEST_CASE("connections that migrate are counted where they went") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(), keeping(kAddress, "least"));
    for (TcpServer& server : servers) server.process().signal(SIGSTOP);
    const Address address(kAddress);
    std::vector<TcpClient> clients;
    clients.reserve(160);
    for (int i = 0; i < 160; i++) clients.emplace_back(address);
    servers[kVictim].process().kill9();
    for (TcpServer& server : servers) {
      if (server.id() != kVictim) server.process().signal(SIGCONT);
    }
    Tally tally;
    for (TcpClient& client : clients) {
      auto server = client.server();
      REQUIRE(server.has_value());
      tally[*server]++;
    }
    CHECK(shows(daemon, tally));
    for (const auto& accepted : tally) {
      CAPTURE(accepted.first);
      CHECK(accepted.second >= 20);
      CHECK(accepted.second <= 25);
    }
    clients.clear();
    CHECK(shows(daemon, {}));
  }

  // Each connection that waits is counted once, for the listener that it waits at now: also when
  // that one closes in turn, and when the client has gone meanwhile. What was left over in a
  // counter would make least mode avoid its member for ever.
  TEST_CASE("connections that move twice, or end while they wait, leave nothing behind") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(), keeping(kAddress, "least"));
    for (TcpServer& server : servers) server.process().signal(SIGSTOP);
    const Address address(kAddress);
    std::vector<TcpClient> clients;
    clients.reserve(160);
    for (int i = 0; i < 160; i++) clients.emplace_back(address);
    servers[0].process().kill9();
    clients.erase(clients.begin(), clients.begin() + 80);
    servers[1].process().kill9();
    servers[2].process().kill9();
    for (size_t i = 3; i < servers.size(); i++) servers[i].process().signal(SIGCONT);
    Tally tally;
    for (TcpClient& client : clients) {
      auto server = client.server();
      REQUIRE(server.has_value());
      tally[*server]++;
    }
    CHECK(shows(daemon, tally));
    clients.clear();
    CHECK(shows(daemon, {}));
  }

  // Who is not counted must neither be turned away nor, since it looks idle, be given everything.
  TEST_CASE("when all counters are in use listeners join uncounted, and the hash picks") {
    Machine machine;
    DaemonProcess daemon(machine);
    occupy_counters(daemon, kInstances - 1);
    TcpInstances how = keeping(kAddress, "least");
    how.environment["SUBSET_FALLBACK"] = "fail";
    auto servers = start_tcp_instances(machine, daemon.socket(), how);
    Document status = daemon.status();
    CHECK(status.group(kGroup).active() == kInstances);
    CHECK(servers.back().process().err().find("all counters are in use") != std::string::npos);

    Held held;
    held.add(160);
    const Tally tally = held.tally();
    CHECK(tally.size() == kInstances);
    CHECK(tally.at(kInstances - 1) < 80);  // 20 by a fair hash
    Tally counted = tally;
    counted.erase(kInstances - 1);
    CHECK(shows(daemon, counted));
    held.clients.clear();
    CHECK(shows(daemon, {}));

    // One that can be counted comes in its place: all are compared again.
    occupy_counters(daemon, kInstances);
    servers.back() = start_tcp_instance(machine, daemon.socket(), kInstances - 1, how);
    Held even;
    even.add(160);
    Tally expected;
    for (uint32_t i = 0; i < kInstances; i++) expected[i] = 20;
    CHECK(even.tally() == expected);
  }

  // Both groups get the same arrivals and the same lifetimes. Under hash the open connections of a
  // member are as many as chance will have it, about 68 and 8 more or less; least mode evens out
  // what chance and lifetimes do.
  TEST_CASE("lifetimes from 1 ms to 10 s: the fullest member is within a tenth of the mean") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_tcp_instances(machine, daemon.socket(), keeping(kAddress, "least"));
    auto hashing = start_tcp_instances(machine, daemon.socket(), keeping(kHashAddress, "hash"));
    Arrivals arrivals(kAddress);
    Arrivals others(kHashAddress);
    Imbalance least;
    Imbalance hash;
    const auto begin = Clock::now();
    auto sampled = begin + 5s;  // by then most of those that stay long have come
    for (auto now = begin; now < begin + 12s; now = Clock::now()) {
      arrivals.step(now);
      others.step(now);
      if (now >= sampled) {
        least.add(imbalance(daemon, kGroup));
        hash.add(imbalance(daemon, kHashGroup));
        sampled += 100ms;
      }
      std::this_thread::sleep_for(1ms);
    }
    MESSAGE("max/mean of open connections, at worst (and on average): least ", least.largest, " (",
            least.mean(), "), hash ", hash.largest, " (", hash.mean(), "); ", arrivals.made(),
            " connections");
    CHECK(least.samples > 0);
    CHECK(least.largest < 1.1);
    arrivals.close_all();
    others.close_all();
    CHECK(shows(daemon, {}));
    CHECK(eventually([&] { return open_connections(daemon, kHashGroup).empty(); }));
  }
}

}  // namespace
}  // namespace subset::test
