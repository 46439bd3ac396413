// SPDX-License-Identifier: MIT
// The daemon is killed at random moments of a storm, and whatever it was doing then, the next one
// finds the truth.
//
// Four threads join and leave four groups, found others, take instances over, open generations,
// drain, weigh, change modes, and send traffic, as fast as the daemon answers. It is killed, one
// time in four killed again while it is starting, then started and, while the storm holds its
// breath, compared with the kernel:
//
//   - the table in force is what the planner makes of the members that there are, to the bucket;
//   - every member sits in the slot that its tag names, every slot holds a member, and no tag is
//     left on a socket that is none;
//   - what was answered is true: each socket whose registration succeeded is a member;
//   - the pins are those of the groups and of one version of each, and of the maps and programs
//     that were ever seen none outlives what refers to it;
//   - the daemon holds no member's socket;
//   - no counter of a group, nor of a seat, went back.
//
// The sockets are the test's own, registered by hand: no shim, so that thousands of registrations
// fit into a second. The seed is printed; SUBSET_TEST_SEED repeats the draws, though not the
// moments, since those are the kernel's.
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "bpf/layout.h"
#include "daemon/kernel/record.h"
#include "daemon/model/planner.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/kernel_objects.h"
#include "tests/system/harness/length.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/servers/address.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

constexpr int kThreads = 4;
constexpr size_t kSocketsEach = 24;

struct Place {
  Protocol protocol = Protocol::Udp;
  uint16_t port = 0;
  uint32_t total = 0;  // at first
  Vacancy vacancy = Vacancy::Spread;

  std::string address() const { return "127.0.0.1:" + std::to_string(port); }
  std::string group() const { return std::string(name_of(protocol)) + "/" + address(); }
};
constexpr Place kPlaces[] = {
    {Protocol::Udp, 7001, 4, Vacancy::Spread},
    {Protocol::Udp, 7002, 5, Vacancy::Refuse},
    {Protocol::Tcp, 7003, 4, Vacancy::Spread},
    {Protocol::Tcp, 7004, 60, Vacancy::Spread},
};
constexpr uint16_t kFirstFreePort = 7100;
constexpr uint32_t kTotals[] = {3, 4, 5, 60, 70};

int kills() {
  return long_run() ? 200 : 60;
}

uint32_t seed() {
  const char* given = std::getenv("SUBSET_TEST_SEED");
  return given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10))
                          : std::random_device()();
}

Cookie cookie_of(const Fd& socket) {
  Cookie cookie = 0;
  socklen_t size = sizeof cookie;
  checked(getsockopt(socket.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size), "SO_COOKIE");
  return cookie;
}

Fd open_at(const Place& place) {
  const bool tcp = place.protocol == Protocol::Tcp;
  const Address address(place.address());
  Fd socket(
      checked(::socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0), "socket"));
  const int yes = 1;
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes), "SO_REUSEPORT");
  checked(bind(socket.get(), address.get(), address.size()), "bind");
  if (tcp) checked(listen(socket.get(), 16), "listen");
  return socket;
}

struct Own {
  Place place;
  Fd socket;
  Cookie cookie = 0;
  bool answered = false;  // its registration, with success
};

// What the storm goes through: closed, it holds its breath. A lock alone prefers those who have it.
class Gate {
 public:
  void pass_while(const std::function<void()>& body) {
    while (closed_) std::this_thread::sleep_for(1ms);
    const std::shared_lock<std::shared_mutex> inside(mutex_);
    body();
  }

  class Closed {
   public:
    explicit Closed(Gate& gate) : gate_(gate) {
      gate_.closed_ = true;
      gate_.mutex_.lock();
    }
    ~Closed() {
      gate_.closed_ = false;
      gate_.mutex_.unlock();
    }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    Gate& gate_;
  };

 private:
  std::atomic<bool> closed_ = false;
  std::shared_mutex mutex_;
};

// One of those who make the storm. Everything that a daemon which dies may do to a request is an
// answer like any other.
class Stormer {
 public:
  Stormer(const DaemonProcess& daemon, uint32_t seed, Gate& gate)
      : daemon_(daemon), random_(seed), gate_(gate), thread_([this] { work(); }) {}
  ~Stormer() {
    stopping_ = true;
    thread_.join();
  }

  // Only while the storm holds its breath.
  const std::vector<Own>& sockets() const { return sockets_; }
  uint64_t done() const { return done_; }

 private:
  uint32_t pick(size_t below) { return static_cast<uint32_t>(random_() % below); }

  void work() {
    while (!stopping_) {
      try {
        gate_.pass_while([this] { act(); });
        done_++;
      } catch (const std::exception&) {
        std::this_thread::sleep_for(1ms);  // no daemon, at the moment
      }
    }
  }

  void act() {
    const uint32_t what = pick(20);
    if (what < 9) return join();
    if (what < 13) return close_one();
    if (what < 16) return speak();
    order();
  }

  void join() {
    if (sockets_.size() >= kSocketsEach) return close_one();
    const Place place = pick(40) == 0 ? fresh_place() : kPlaces[pick(std::size(kPlaces))];
    sockets_.push_back({.place = place, .socket = open_at(place)});
    Own& own = sockets_.back();
    own.cookie = cookie_of(own.socket);
    protocol::Register message;
    message.wanted.lineage = 1 + random_() % 1'000'000'000;
    message.wanted.total = pick(4) == 0 ? kTotals[pick(std::size(kTotals))] : place.total;
    message.wanted.instance = pick(message.wanted.total);
    message.wanted.weight = kDefaultWeight;
    message.wanted.vacancy = static_cast<uint8_t>(place.vacancy);
    message.wanted.flags = protocol::kVacancyGiven;
    Connection connection = Connection::to(daemon_.socket());
    if (!connection.send(bytes_of(message), {own.socket.get()})) return;
    const auto packet = connection.receive();
    own.answered = packet && packet->as<protocol::Reply>().error == 0;
  }

  static Place fresh_place() {
    static std::atomic<uint16_t> port = kFirstFreePort;
    const uint16_t chosen = port++;
    return {chosen % 2 == 0 ? Protocol::Udp : Protocol::Tcp, chosen, 2, Vacancy::Spread};
  }

  void close_one() {
    if (sockets_.empty()) return;
    const size_t which = pick(sockets_.size());
    std::swap(sockets_[which], sockets_.back());
    sockets_.pop_back();
  }

  void speak() {
    const Place& place = kPlaces[pick(std::size(kPlaces))];
    const Address address(place.address());
    const int type = place.protocol == Protocol::Udp ? SOCK_DGRAM : SOCK_STREAM | SOCK_NONBLOCK;
    for (int i = 0; i < 8; i++) {
      Fd socket(checked(::socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket"));
      if (connect(socket.get(), address.get(), address.size()) == 0)
        (void)!send(socket.get(), "?", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }

  void order() {
    const Place& place = kPlaces[pick(std::size(kPlaces))];
    const uint32_t instance = pick(5);
    const bool tcp = place.protocol == Protocol::Tcp;
    constexpr Mode kUdp[] = {Mode::Hash, Mode::Source, Mode::Random};
    constexpr Mode kTcp[] = {Mode::Hash, Mode::Source, Mode::Least};
    switch (pick(7)) {
      case 0:
        return give(place, drain(instance));
      case 1:
      case 2:
        return give(place, resume(protocol::Change::kAll));
      case 3:  // weights of vacant instances are not in the status, and count where they refuse
        if (place.vacancy == Vacancy::Spread) give(place, weight(instance, 1 + pick(kMaxWeight)));
        return;
      case 4:
        return give(place, mode(tcp ? kTcp[pick(3)] : kUdp[pick(3)]));
      case 5:
        return give(place, activate());
      default:
        return give(place, abandon());
    }
  }

  void give(const Place& place, const Order& order) { (void)ask(daemon_, place.group(), order); }

  const DaemonProcess& daemon_;
  std::mt19937 random_;
  Gate& gate_;
  std::vector<Own> sockets_;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> done_ = 0;
  std::thread thread_;
};

Fd pinned(const fs::path& path) {
  return Fd(checked(bpf_obj_get(path.c_str()), "open " + path.string()));
}

bpf_map_info map_info(const Fd& map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  checked(bpf_obj_get_info_by_fd(map.get(), &info, &size), "look at a map");
  return info;
}

template <typename T>
std::vector<T> value_of(const Fd& map, uint32_t key) {
  std::vector<T> value((map_info(map).value_size + sizeof(T) - 1) / sizeof(T));
  checked(bpf_map_lookup_elem(map.get(), &key, value.data()), "read a map");
  return value;
}

// What the pins say of one group, read as the next daemon reads it, but by other code.
struct Kernel {
  uint64_t serial = 0;
  kernel::RecordHead record{};
  std::vector<Slot> row;
  std::map<Slot, Cookie> occupants;
};

Kernel read_group(const fs::path& directory) {
  Kernel group;
  group.serial = std::stoull(directory.filename().string().substr(strlen("group-")), nullptr, 16);
  std::string rows;
  size_t versions = 0;
  std::string record;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("rows-")) rows = name.substr(strlen("rows-")), versions++;
    if (name.starts_with("record-")) record = std::max(record, name);
  }
  if (versions != 1)
    throw std::runtime_error(directory.string() + " has " + std::to_string(versions) + " versions");
  const auto control = value_of<subset_control>(pinned(directory / ("control-" + rows)), 0);
  const auto words =
      value_of<uint64_t>(pinned(directory / ("rows-" + rows)), control.front().active & 1);
  const auto* row = reinterpret_cast<const subset_row*>(words.data());
  group.row.assign(row->slot, row->slot + row->buckets);
  group.record = *reinterpret_cast<const kernel::RecordHead*>(
      value_of<uint64_t>(pinned(directory / record), 0).data());
  uint32_t base = 0;
  for (const char* name : {"members", "more_members"}) {
    if (!fs::exists(directory / name)) continue;
    const Fd members = pinned(directory / name);
    const uint32_t slots = map_info(members).max_entries;
    for (uint32_t slot = 0; slot < slots; slot++) {
      Cookie cookie = 0;
      if (bpf_map_lookup_elem(members.get(), &slot, &cookie) == 0)
        group.occupants[static_cast<Slot>(base + slot)] = cookie;
    }
    base += slots;
  }
  return group;
}

std::string group_key(const kernel::RecordHead& record) {
  return Place{.protocol = static_cast<Protocol>(record.protocol), .port = record.port}.group();
}

// Everything that is compared after each restart.
class Truth {
 public:
  Truth(Machine& machine, const DaemonProcess& daemon,
        const std::vector<std::unique_ptr<Stormer>>& storm)
      : objects_(machine, daemon), daemon_(daemon), storm_(storm) {}

  void check() {
    const Document status = daemon_.status();
    std::map<std::string, Kernel> groups = read_groups();
    CHECK(groups.size() == status.groups.size());
    for (const GroupStatus& group : status.groups) {
      CAPTURE(group.id);
      REQUIRE(groups.count(group.id) == 1);
      check_group(group, groups.at(group.id));
      check_counters(group);
    }
    check_sockets(status, groups);
    check_descriptors();
  }

  void check_objects(size_t groups) { CHECK(objects_.leftover(groups) == ""); }

  void note_objects() { objects_.note(); }

  size_t groups() const { return daemon_.status().groups.size(); }

 private:
  std::map<std::string, Kernel> read_groups() const {
    std::map<std::string, Kernel> groups;
    for (const fs::path& directory : group_pins(daemon_)) {
      Kernel group = read_group(directory);
      groups.emplace(group_key(group.record), std::move(group));
    }
    return groups;
  }

  void check_group(const GroupStatus& group, const Kernel& kernel) {
    CHECK(group.total == kernel.record.total);
    CHECK(group.generation == kernel.record.generation);
    std::map<Cookie, const MemberStatus*> members;
    for (const MemberStatus& member : group.members)
      if (member.cookie != 0) members[member.cookie] = &member;
    RowInput input;
    input.total = group.total;
    for (const auto& [slot, cookie] : kernel.occupants) {
      CAPTURE(slot);
      CHECK(members.contains(cookie));
      if (!members.contains(cookie)) continue;
      const MemberStatus& member = *members[cookie];
      if (member.state == "active")
        input.members.push_back({.slot = slot,
                                 .instance = member.instance,
                                 .ordinal = member.member,
                                 .weight = member.weight});
    }
    CHECK(input.members.size() == group.active());
    input.refuse_vacant = kernel.record.vacancy == static_cast<uint8_t>(Vacancy::Refuse);
    Row row(kernel.row.size());
    for (size_t i = 0; i < row.size(); i++) {
      row[i].slot = kernel.row[i];
      const auto holder = std::ranges::find(input.members, row[i].slot, &PlanMember::slot);
      if (holder != input.members.end()) row[i].instance = holder->instance;
    }
    CHECK(row.size() == bucket_count(group.total));
    if (input.refuse_vacant) give_to_vacant(row, input);
    const Row planned = plan_row(row, input);
    size_t differing = 0;
    for (size_t i = 0; i < row.size(); i++) differing += planned[i].slot != row[i].slot;
    CHECK(differing == 0);
  }

  // Buckets of nobody belong to the vacant instances, and by number alone: the planner moves none
  // if each can have its quota of them.
  static void give_to_vacant(Row& row, const RowInput& input) {
    std::set<uint32_t> held;
    for (const PlanMember& member : input.members) held.insert(member.instance);
    std::vector<uint32_t> vacant;
    for (uint32_t i = 0; i < input.total; i++)
      if (!held.contains(i)) vacant.push_back(i);
    size_t next = 0;
    for (Bucket& bucket : row) {
      if (bucket.slot == kNoSlot && !vacant.empty())
        bucket.instance = vacant[next++ % vacant.size()];
    }
  }

  void check_counters(const GroupStatus& group) {
    const auto on = [&](const std::string& name, uint64_t value) {
      CAPTURE(name);
      uint64_t& before = counters_[group.id + " " + name];
      CHECK(value >= before);
      before = value;
    };
    on("home", group.home);
    on("alternative", group.alternative);
    on("kernel", group.kernel);
    on("refused", group.refused);
  }

  void check_sockets(const Document& status, const std::map<std::string, Kernel>& groups) {
    const Fd tags = pinned(shared_pin(daemon_, "tags"));
    for (const auto& stormer : storm_) {
      for (const Own& own : stormer->sockets()) {
        const std::string id = own.place.group();
        CAPTURE(id);
        const GroupStatus* group = status.find(id);
        const bool member = group != nullptr &&
                            std::ranges::find(group->members, own.cookie, &MemberStatus::cookie) !=
                                group->members.end();
        if (own.answered) CHECK(member);
        subset_tag tag{};
        const int socket = own.socket.get();
        const bool tagged = bpf_map_lookup_elem(tags.get(), &socket, &tag) == 0;
        CHECK(tagged == member);
        if (!tagged || !member) continue;
        const Kernel& kernel = groups.at(id);
        CHECK(tag.group == kernel.serial);
        const auto slot = std::ranges::find_if(
            kernel.occupants, [&](const auto& each) { return each.second == own.cookie; });
        if (slot != kernel.occupants.end()) CHECK(tag.slot == slot->first);
      }
    }
  }

  // Every socket that the daemon has is one of its own: control socket, connections, its ring.
  void check_descriptors() {
    std::set<std::string> members;
    for (const auto& stormer : storm_) {
      for (const Own& own : stormer->sockets()) {
        struct stat about {};
        checked(fstat(own.socket.get(), &about), "fstat");
        members.insert("socket:[" + std::to_string(about.st_ino) + "]");
      }
    }
    for (const std::string& name : daemon_.descriptor_names()) CHECK(!members.contains(name));
  }

  KernelObjects objects_;
  const DaemonProcess& daemon_;
  const std::vector<std::unique_ptr<Stormer>>& storm_;
  std::map<std::string, uint64_t> counters_;
};

TEST_SUITE("system") {
  TEST_CASE("the daemon is killed at random moments of a storm") {
    const uint32_t chosen = seed();
    MESSAGE("seed ", chosen, ": SUBSET_TEST_SEED=", chosen, " draws the same");
    std::mt19937 random(chosen);
    Machine machine;
    DaemonProcess daemon(machine);
    Gate gate;
    std::vector<std::unique_ptr<Stormer>> storm;
    for (uint32_t i = 0; i < kThreads; i++)
      storm.push_back(std::make_unique<Stormer>(daemon, chosen + 1 + i, gate));
    Truth truth(machine, daemon, storm);
    for (int kill = 0; kill < kills(); kill++) {
      CAPTURE(kill);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
      truth.note_objects();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 3'000));
      daemon.kill9();
      const Gate::Closed closed(gate);
      if (random() % 4 == 0) {
        daemon.spawn();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 150'000));
        daemon.kill9();
      }
      daemon.start();
      truth.check();
      if (kill % 20 == 19) truth.check_objects(truth.groups());
    }
    uint64_t acts = 0;
    for (const auto& stormer : storm) acts += stormer->done();
    MESSAGE(kills(), " kills among ", acts, " acts");
  }
}

}  // namespace
}  // namespace subset::test
