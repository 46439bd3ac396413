// SPDX-License-Identifier: MIT
// Being looked at costs next to nothing. 200 scrapes a second, more than any house has, while
// servers come and go: every scrape is answered, every registration succeeds and none waits long,
// and the daemon uses less than a tenth of a core for it. Nobody looking and nothing happening, a
// hundred groups cost less than half a percent of a core.
//
// CPU time is what the kernel accounts to the daemon, not how long things take, so that a busy
// machine does not decide. SUBSET_TEST_LONG=1 makes it ten seconds and a hundred groups.
#include <unistd.h>

#include <atomic>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/hand_made.h"
#include "tests/system/harness/http.h"
#include "tests/system/harness/length.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

constexpr char kHttp[] = "127.0.0.1:9753";

bool joins(const DaemonProcess& daemon, const Fd& socket, uint32_t instance = 0,
           uint32_t total = 1) {
  return answer_to(daemon.socket(), bytes_of(registration(1, total, instance)), {socket.get()}) ==
         0;
}

std::vector<Fd> fill(const DaemonProcess& daemon, int groups, uint32_t total = 1) {
  std::vector<Fd> sockets;
  for (int i = 0; i < groups; i++) {
    for (uint32_t instance = 0; instance < total; instance++) {
      sockets.push_back(shared_socket("127.0.0.1:" + std::to_string(20000 + i)));
      REQUIRE(joins(daemon, sockets.back(), instance, total));
    }
  }
  return sockets;
}

// Seconds of CPU that the process has used.
double cpu_seconds(pid_t pid) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 3; i < 14; i++) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double share_of_core(const DaemonProcess& daemon, Clock::time_point since, double before) {
  const double passed = std::chrono::duration<double>(Clock::now() - since).count();
  return (cpu_seconds(daemon.pid()) - before) / passed;
}

// As `subset check` finds it.
bool iterates_storage(Machine& machine) {
  const Finished check = run(machine, {.argv = {built("ctl/subset"), "check"}});
  const auto lines = lines_with(check.out, "socket iterator");
  REQUIRE(lines.size() == 1);
  return lines[0].starts_with("ok");
}

// Scrapes at a pace, on a thread of its own.
class Storm {
 public:
  explicit Storm(Clock::duration period) : thread_([this, period] { work(period); }) {}
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm() {
    over_ = true;
    thread_.join();
  }
  int good() const { return good_; }
  int bad() const { return bad_; }

 private:
  void work(Clock::duration period) {
    const Address server(kHttp);
    for (auto due = Clock::now(); !over_; due += period) {
      std::this_thread::sleep_until(due);
      try {
        (http_get(server, "/metrics").status == 200 ? good_ : bad_)++;
      } catch (const std::exception&) {
        bad_++;
      }
    }
  }

  std::atomic<bool> over_ = false;
  std::atomic<int> good_ = 0;
  std::atomic<int> bad_ = 0;
  std::thread thread_;
};

TEST_SUITE("system") {
  TEST_CASE("two hundred scrapes a second disturb nobody") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, long_run() ? 100 : 20);
    (void)scrape(Address(kHttp));
    const Clock::duration length = long_run() ? 10s : 3s;

    // Alone first: what registrations cost is not what scrapes cost.
    const auto start = Clock::now();
    const double before = cpu_seconds(daemon.pid());
    auto storm = std::make_unique<Storm>(5ms);
    std::this_thread::sleep_for(length);
    const double share = share_of_core(daemon, start, before);
    CHECK_MESSAGE(share < 0.1, "of a core: " << share);

    // Fast enough to fill the group with closed sockets between two sweeps: they must not count.
    int registered = 0;
    Clock::duration longest{};
    for (const auto end = Clock::now() + length / 3; Clock::now() < end; registered++) {
      const Fd socket = shared_socket("127.0.0.1:19999");
      const auto asked = Clock::now();
      REQUIRE(joins(daemon, socket));
      longest = std::max(longest, Clock::now() - asked);
    }
    const int good = storm->good();
    CHECK(storm->bad() == 0);
    storm.reset();
    MESSAGE(good << " scrapes, " << registered << " registrations, the longest "
                 << std::chrono::duration<double, std::milli>(longest).count() << " ms; " << share
                 << " of a core");
    CHECK(registered > 0);
    CHECK(longest < 1s);  // the shim waits no longer
    CHECK(good > 0);
  }

  // The best of a few looks: what the machine does beside is not what a look costs. A kernel that
  // forbids to iterate over tags has the daemon look at all descriptors of the machine, which costs
  // what it costs.
  TEST_CASE("two thousand members are looked at in less than ten milliseconds") {
    if (!long_run()) return;
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, 100, 20);
    double best = 1;
    for (int look = 0; look < 5; look++) {
      std::this_thread::sleep_for(1100ms);
      const auto samples = scrape(Address(kHttp));
      CHECK(samples.count(R"(subset_member_queue_bytes{group="udp/127.0.0.1:20099",)"
                          R"(instance="19",member="0"})") == 1);
      best = std::min(best, samples.at("subset_sample_duration_seconds"));
    }
    MESSAGE(members.size() << " members in " << best * 1000 << " ms");
    if (iterates_storage(machine)) CHECK(best < 0.01);
  }

  TEST_CASE("nobody looks, nothing happens") {
    if (!long_run()) return;
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, 100);
    std::this_thread::sleep_for(2s);
    const auto start = Clock::now();
    const double before = cpu_seconds(daemon.pid());
    std::this_thread::sleep_for(20s);
    const double share = share_of_core(daemon, start, before);
    CHECK_MESSAGE(share < 0.005, "of a core: " << share);
  }
}

}  // namespace
}  // namespace subset::test
