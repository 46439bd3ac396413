// SPDX-License-Identifier: MIT
// Being looked at costs next to nothing. 200 scrapes a second, more than any house has, while
// servers come and go: every scrape is answered, every registration succeeds and none waits long,
// and the daemon uses less than a tenth of a core for it. Nobody looking and nothing happening, a
// hundred groups cost less than half a percent of a core.
//
// CPU time is what the kernel accounts to the daemon, not how long things take, so that a busy
// machine does not decide; what registrations take is printed, with scrapes and without, in turns.
// SUBSET_TEST_LONG=1 makes it longer.
#include <algorithm>
#include <atomic>
#include <ctime>
#include <memory>
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
  clockid_t clock{};
  timespec used{};
  REQUIRE(clock_getcpuclockid(pid, &clock) == 0);
  REQUIRE(clock_gettime(clock, &used) == 0);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// What the daemon uses of a core from now on.
class Share {
 public:
  explicit Share(const DaemonProcess& daemon) : daemon_(daemon), used_(cpu_seconds(daemon.pid())) {}
  double now() const {
    const double passed = std::chrono::duration<double>(Clock::now() - since_).count();
    return (cpu_seconds(daemon_.pid()) - used_) / passed;
  }

 private:
  const DaemonProcess& daemon_;
  Clock::time_point since_ = Clock::now();
  double used_;
};

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

// What registrations at a moderate pace have taken, in milliseconds.
class Registrations {
 public:
  explicit Registrations(const DaemonProcess& daemon) : daemon_(daemon) {}

  // Fast enough to fill the group with closed sockets between two sweeps: they must not count.
  void make(Clock::duration length) {
    const auto end = Clock::now() + length;
    for (auto due = Clock::now(); due < end; due += 3ms) {
      std::this_thread::sleep_until(due);
      const Fd socket = shared_socket("127.0.0.1:19999");
      const auto asked = Clock::now();
      REQUIRE(joins(daemon_, socket));
      taken_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - asked).count());
    }
  }
  size_t count() const { return taken_.size(); }
  double at(double part) const {
    std::vector<double> sorted = taken_;
    std::ranges::sort(sorted);
    return sorted.at(static_cast<size_t>(part * static_cast<double>(sorted.size() - 1)));
  }

 private:
  const DaemonProcess& daemon_;
  std::vector<double> taken_;
};

TEST_SUITE("system") {
  TEST_CASE("two hundred scrapes a second disturb nobody") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, 100);
    (void)scrape(Address(kHttp));

    // Alone first: what registrations cost is not what scrapes cost.
    const Share share(daemon);
    auto storm = std::make_unique<Storm>(5ms);
    std::this_thread::sleep_for(long_run() ? 10s : 3s);
    const double used = share.now();
    const int answered = storm->good();
    CHECK(storm->bad() == 0);
    storm.reset();
    MESSAGE(answered << " scrapes of " << members.size() << " groups: " << used << " of a core");
    CHECK(answered > 0);
    CHECK(used < 0.1);

    Registrations quiet(daemon);
    Registrations scraped(daemon);
    for (int turn = 0; turn < (long_run() ? 20 : 5); turn++) {
      quiet.make(500ms);
      Storm beside(5ms);
      scraped.make(500ms);
      CHECK(beside.bad() == 0);
    }
    MESSAGE("registrations, ms at the median, of 99 in 100, at most: "
            << quiet.count() << " alone " << quiet.at(0.5) << ", " << quiet.at(0.99) << ", "
            << quiet.at(1) << "; " << scraped.count() << " beside scrapes " << scraped.at(0.5)
            << ", " << scraped.at(0.99) << ", " << scraped.at(1));
    CHECK(scraped.at(1) < 1000);  // the shim waits no longer
  }

  // How long it takes is for scripts/bench to say: here that all of them are in it.
  TEST_CASE("two thousand members are looked at") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, 100, 20);
    double best = 1;
    for (int look = 0; look < 5; look++) {
      const Finished status = run(machine, {.argv = {built("ctl/subset"), "status", "--json"},
                                            .environment = {{"SUBSET_SOCKET", daemon.socket()}}});
      REQUIRE_MESSAGE(status.status == 0, status.err);  // a new look
      const auto samples = scrape(Address(kHttp));
      const auto limit = [](const auto& sample) {
        return sample.first.starts_with("subset_member_queue_limit_bytes{") && sample.second > 0;
      };
      CHECK(static_cast<size_t>(std::ranges::count_if(samples, limit)) == members.size());
      best = std::min(best, samples.at("subset_sample_duration_seconds"));
    }
    MESSAGE(members.size() << " members in " << best * 1000 << " ms");
  }

  TEST_CASE("nobody looks, nothing happens") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const std::vector<Fd> members = fill(daemon, 100);
    std::this_thread::sleep_for(2s);
    const Share share(daemon);
    std::this_thread::sleep_for(long_run() ? 20s : 5s);
    const double used = share.now();
    MESSAGE(members.size() << " groups: " << used << " of a core");
    CHECK(used < 0.005);
  }
}

}  // namespace
}  // namespace subset::test
