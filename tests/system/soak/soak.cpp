// SPDX-License-Identifier: MIT
// Everything that may happen to groups, over and over, under load, and for as long as one likes:
// nothing is lost, and the daemon neither grows nor leaks.
//
// There are five groups of real servers, each with a load of its own (and three without, since a
// name server listens for connections too). In each round something happens to all five at once:
// servers join and leave, are taken over, drained and resumed, resized, get other weights and
// modes, are killed while they have something queued. In the first half the daemon itself is
// restarted or killed between rounds, too. In the second half it lives, so that what it leaks adds
// up: its memory, descriptors and pins are counted at the beginning and the end of that half, with
// all groups as large as they were at first. When all servers have gone, no map and no program of
// any of the daemons may be left but what the last one has open.
//
// What is random goes by a seed that is printed; the moments at which things meet are the
// machine's. Loads have so few questions on the way at a time that no queue overflows, however busy
// the machine is: then what is unanswered was lost by somebody.
//
// In the suite it takes two minutes beside the other tests, and waits most of the time. By hand
// (scripts/soak, or SUBSET_SOAK_SECONDS) it has the machine to itself, and one round follows the
// other.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/dns_load.h"
#include "tests/system/harness/http_load.h"
#include "tests/system/harness/kernel_objects.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/real_servers.h"
#include "tests/system/soak/crowd.h"
#include "tests/system/soak/managed.h"
#include "tests/system/soak/mortal.h"

namespace subset::test {
namespace {

// However slow the machine is: in both halves together as many as a fleet has deeds, and more.
constexpr int kFewestRounds = 4;  // in one half

constexpr uint32_t kFlows = 96;

struct Pace {
  std::chrono::seconds length;
  std::chrono::milliseconds round;  // at least, from one to the next
  uint32_t questions;               // of each load, a second
  uint32_t connections;
};

// A sixth of a core, most of it for what happens.
constexpr Pace kBesideOthers{.length = 120s, .round = 5s, .questions = 200, .connections = 20};
// What one core of a small machine does beside everything else that happens.
constexpr Pace kAlone{.length = 120s, .round = 0s, .questions = 1'500, .connections = 150};

// What a malloc may keep of what it had, and a connection that is just being closed.
constexpr size_t kSlackKiB = 2'048;
constexpr size_t kSlackDescriptors = 2;

uint32_t number_from(const char* variable, uint32_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? static_cast<uint32_t>(std::stoul(text)) : otherwise;
}

Pace pace() {
  constexpr char kLength[] = "SUBSET_SOAK_SECONDS";
  if (std::getenv(kLength) == nullptr) return kBesideOthers;
  Pace alone = kAlone;
  alone.length = std::chrono::seconds(number_from(kLength, 0));
  return alone;
}

// What the daemon takes.
struct Footprint {
  size_t resident_kib = 0;
  size_t descriptors = 0;
  size_t pins = 0;
};

Footprint footprint_of(const DaemonProcess& daemon) {
  Footprint now;
  now.resident_kib = std::stoul(daemon.kernel_says("VmRSS"));
  now.descriptors = daemon.idle_descriptors();
  for ([[maybe_unused]] const auto& pin :
       std::filesystem::recursive_directory_iterator(daemon.pins()))
    now.pins++;
  return now;
}

// All deeds of a fleet in a random order, then again in another.
class Bag {
 public:
  explicit Bag(Fleet& fleet) : fleet_(fleet) {}

  Deed draw(std::mt19937& random) {
    if (left_.empty()) {
      left_ = fleet_.deeds();
      std::ranges::shuffle(left_, random);
    }
    Deed deed = std::move(left_.back());
    left_.pop_back();
    return deed;
  }

 private:
  Fleet& fleet_;
  std::vector<Deed> left_;
};

class Soak {
 public:
  Soak(uint32_t seed, const Pace& pace);

  // Rounds until then, with a new daemon now and then or not.
  void go_on_until(Clock::time_point end, bool new_daemons);
  Footprint measure();
  void stop_loads();
  void end_servers();

  void report(const Footprint& before, const Footprint& after) const;
  uint64_t sent() const;
  uint64_t answered() const;
  uint64_t oddities() const;
  uint32_t times(const std::string& deed) const;
  const DaemonProcess& daemon() const { return daemon_; }
  const KernelObjects& objects() const { return objects_; }

 private:
  void load(const Fleet& fleet);
  void do_round();
  void replace_daemon();
  void tell_progress(const std::string& what);
  uint64_t lost_so_far() const;

  Pace pace_;
  Clock::time_point begun_ = Clock::now();
  std::mt19937 random_;
  Machine machine_;
  DaemonProcess daemon_{machine_};
  KernelObjects objects_{machine_, daemon_};
  std::vector<std::unique_ptr<Fleet>> fleets_;
  std::vector<Bag> bags_;
  std::map<std::string, std::unique_ptr<DnsLoad>> dns_;  // by group
  std::map<std::string, std::unique_ptr<HttpLoad>> http_;
  std::map<std::string, DnsLoad::Outcome> questions_;
  std::map<std::string, HttpLoad::Outcome> connections_;
  std::map<std::string, uint32_t> deeds_;
};

Soak::Soak(uint32_t seed, const Pace& pace) : pace_(pace), random_(seed) {
  const Stage stage{machine_, daemon_};
  // A connection is accepted when its request is there: so a server that waits has answered all
  // that it accepted.
  std::vector<std::string> one_process = nginx_command(machine_, "127.0.0.1:8081 deferred");
  one_process.back() += " master_process off;";
  fleets_.push_back(std::make_unique<Crowd>(stage, uint16_t{5355}, seed + 1));
  fleets_.push_back(
      std::make_unique<Managed>(stage,
                                Managed::Kind{.group = kDnsGroup,
                                              .server = dnsmasq_command(),
                                              .modes = {Mode::Hash, Mode::Source, Mode::Random}},
                                seed + 2));
  fleets_.push_back(
      std::make_unique<Managed>(stage,
                                Managed::Kind{.group = kHttpGroup,
                                              .server = nginx_command(machine_),
                                              .modes = {Mode::Hash, Mode::Source, Mode::Least}},
                                seed + 3));
  fleets_.push_back(std::make_unique<Mortal>(
      stage,
      Mortal::Kind{
          .group = "udp/127.0.0.1:5354", .server = dnsmasq_command(5354), .waits_in = SYS_poll},
      seed + 4));
  fleets_.push_back(std::make_unique<Mortal>(
      stage,
      Mortal::Kind{
          .group = "tcp/127.0.0.1:8081", .server = one_process, .waits_in = SYS_epoll_wait},
      seed + 5));
  for (const auto& fleet : fleets_) {
    bags_.emplace_back(*fleet);
    load(*fleet);
  }
}

void Soak::load(const Fleet& fleet) {
  const std::string& group = fleet.group();
  const std::string address = group.substr(group.find('/') + 1);
  if (group.starts_with("udp"))
    dns_[group] = std::make_unique<DnsLoad>(
        DnsLoad::Settings{.server = address, .flows = kFlows, .rate = pace_.questions});
  else
    http_[group] = std::make_unique<HttpLoad>(
        HttpLoad::Settings{.server = address, .rate = pace_.connections});
}

uint64_t Soak::lost_so_far() const {
  uint64_t lost = 0;
  for (const auto& [group, each] : dns_) lost += each->lost();
  for (const auto& [group, each] : http_) lost += each->lost();
  return lost;
}

void Soak::tell_progress(const std::string& what) {
  const auto seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  std::printf("%7.1f s  lost %lu, daemon %s  %s\n", seconds,
              static_cast<unsigned long>(lost_so_far()), daemon_.kernel_says("VmRSS").c_str(),
              what.c_str());
  std::fflush(stdout);
}

// Does it, and says so, with the seconds that it took.
std::string done(const Deed& deed) {
  const auto begun = Clock::now();
  deed.act();
  const auto took = std::chrono::duration<double>(Clock::now() - begun).count();
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), " %.1f", took);
  return deed.name + text.data();
}

// Something to each fleet, at once.
void Soak::do_round() {
  std::vector<std::future<std::string>> running;
  for (Bag& bag : bags_) {
    Deed deed = bag.draw(random_);
    deeds_[deed.name]++;
    running.push_back(std::async(std::launch::async, done, std::move(deed)));
  }
  for (auto& each : running) each.wait();
  std::string what;
  for (auto& each : running) what += (what.empty() ? "" : ", ") + each.get();
  tell_progress(what);
}

void Soak::replace_daemon() {
  const bool killed = random_() % 2 == 0;
  if (killed)
    daemon_.kill9();
  else
    (void)daemon_.stop();
  daemon_.start();
  for (const auto& fleet : fleets_) fleet->see_new_daemon();
  deeds_["new daemon"]++;
  tell_progress(killed ? "daemon killed and started" : "daemon stopped and started");
}

void Soak::go_on_until(Clock::time_point end, bool new_daemons) {
  constexpr int kRoundsOfOne = 3;
  for (int rounds = 1; rounds <= kFewestRounds || Clock::now() < end; rounds++) {
    const auto next = Clock::now() + pace_.round;
    do_round();
    objects_.note();
    if (new_daemons && rounds % kRoundsOfOne == 0) replace_daemon();
    std::this_thread::sleep_until(next);
  }
}

Footprint Soak::measure() {
  for (const auto& fleet : fleets_) fleet->go_home();
  return footprint_of(daemon_);
}

void Soak::stop_loads() {
  for (const auto& [group, each] : dns_) questions_[group] = each->stop();
  for (const auto& [group, each] : http_) connections_[group] = each->stop();
}

void Soak::end_servers() {
  bags_.clear();
  fleets_.clear();
  // Held, or gone already.
  for (const GroupStatus& group : daemon_.status().groups)
    (void)ask(daemon_, group.id, {.verb = protocol::Verb::Release});
}

uint64_t Soak::sent() const {
  uint64_t sum = 0;
  for (const auto& [group, outcome] : questions_) sum += outcome.sent;
  for (const auto& [group, outcome] : connections_) sum += outcome.made;
  return sum;
}

uint64_t Soak::answered() const {
  uint64_t sum = 0;
  for (const auto& [group, outcome] : questions_) sum += outcome.answered;
  for (const auto& [group, outcome] : connections_) sum += outcome.answered;
  return sum;
}

uint64_t Soak::oddities() const {
  uint64_t sum = 0;
  for (const auto& [group, outcome] : questions_) sum += outcome.oddities;
  return sum;
}

uint32_t Soak::times(const std::string& deed) const {
  const auto found = deeds_.find(deed);
  return found != deeds_.end() ? found->second : 0;
}

void Soak::report(const Footprint& before, const Footprint& after) const {
  std::printf("\n%-22s %10s %10s %6s  %s\n", "group", "sent", "answered", "lost", "slowest");
  const auto line = [](const std::string& group, uint64_t sent, uint64_t answered, auto slowest) {
    std::printf("%-22s %10lu %10lu %6lu  %ld ms\n", group.c_str(), static_cast<unsigned long>(sent),
                static_cast<unsigned long>(answered), static_cast<unsigned long>(sent - answered),
                static_cast<long>(slowest.count()));
  };
  for (const auto& [group, each] : questions_) line(group, each.sent, each.answered, each.slowest);
  for (const auto& [group, each] : connections_)
    line(group, each.made, each.answered, each.slowest);
  std::printf("\n");
  for (const auto& [name, count] : deeds_) std::printf("%6u  %s\n", count, name.c_str());
  std::printf(
      "\ndaemon, half way and at the end: %zu and %zu KiB resident, %zu and %zu "
      "descriptors, %zu and %zu pins\n",
      before.resident_kib, after.resident_kib, before.descriptors, after.descriptors, before.pins,
      after.pins);
}

// Groups that still have a member.
size_t groups_alive(const DaemonProcess& daemon) {
  const Document status = daemon.status();
  return static_cast<size_t>(std::ranges::count_if(status.groups, [](const GroupStatus& group) {
    return std::ranges::any_of(group.members, [](const MemberStatus& member) {
      return member.pid.has_value() || member.state == "held";
    });
  }));
}

TEST_SUITE("system") {
  TEST_CASE("churn of all kinds under load: nothing is lost, memory and descriptors stay flat") {
    const uint32_t seed = number_from("SUBSET_SOAK_SEED", std::random_device{}());
    const auto begun = Clock::now();
    const Pace at = pace();
    std::printf("soak of %ld s, seed %u\n", static_cast<long>(at.length.count()), seed);
    Soak soak(seed, at);
    soak.go_on_until(begun + at.length / 2, true);
    const Footprint before = soak.measure();
    soak.go_on_until(begun + at.length, false);
    const Footprint after = soak.measure();
    soak.stop_loads();
    soak.report(before, after);

    CHECK(soak.sent() > 0);
    CHECK(soak.sent() == soak.answered());
    CHECK(soak.oddities() == 0);
    for (const char* deed : {"join", "leave", "takeover", "resize", "drain and resume", "weight",
                             "mode", "kill -9 and hold", "new daemon"}) {
      CAPTURE(deed);
      CHECK(soak.times(deed) > 0);
    }
    CHECK(after.resident_kib <= before.resident_kib + kSlackKiB);
    CHECK(after.descriptors <= before.descriptors + kSlackDescriptors);
    CHECK(after.pins <= before.pins);

    soak.end_servers();
    const bool empty = eventually([&] { return groups_alive(soak.daemon()) == 0; });
    std::printf("groups left with a server: %zu\n", groups_alive(soak.daemon()));
    CHECK(empty);
    CHECK(soak.objects().leftover(0) == "");
  }
}

}  // namespace
}  // namespace subset::test
