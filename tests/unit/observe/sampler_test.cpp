// SPDX-License-Identifier: MIT
// When the machine is looked at, and what rates come of it.
#include "daemon/observe/sampler.h"

#include <random>

#include <doctest/doctest.h>

namespace subset::observe {
namespace {

using namespace std::chrono_literals;

// One group that selects at a steady rate.
struct World {
  Sampler::Clock::time_point time{};
  int looks = 0;
  double per_second = 1000;

  Snapshot look() {
    looks++;
    const double seconds = std::chrono::duration<double>(time.time_since_epoch()).count();
    GroupView group;
    group.id = "udp/127.0.0.1:53";
    group.home = static_cast<uint64_t>(seconds * per_second);
    MemberView member;
    member.selected = group.home;
    group.members.push_back(member);
    Snapshot snapshot;
    snapshot.groups.push_back(group);
    return snapshot;
  }

  Sampler sampler{[this] { return look(); }, [this] { return time; }};
};

TEST_CASE("nobody asks, nobody looks") {
  World world;
  CHECK(world.looks == 0);
}

TEST_CASE("a snapshot serves for a second") {
  World world;
  const SnapshotPtr first = world.sampler.recent();
  world.time += 999ms;
  CHECK(world.sampler.recent() == first);
  world.time += 1ms;
  CHECK(world.sampler.recent() != first);
  CHECK(world.looks == 2);
}

TEST_CASE("after a change it serves for less, but changes do not make storms dear") {
  World world;
  const SnapshotPtr first = world.sampler.recent();
  world.sampler.changed();
  CHECK(world.sampler.recent() == first);
  world.time += Sampler::kOldestAfterChange;
  CHECK(world.sampler.recent() != first);
  for (int i = 0; i < 1000; i++) {
    world.sampler.changed();
    world.time += 1ms;
    (void)world.sampler.recent();
  }
  CHECK(world.looks <= 2 + 5);
}

TEST_CASE("fresh is fresh, and serves the others too") {
  World world;
  const SnapshotPtr old = world.sampler.recent();
  const SnapshotPtr fresh = world.sampler.fresh();
  CHECK(fresh != old);
  CHECK(world.sampler.recent() == fresh);
}

TEST_CASE("texts are made once a snapshot") {
  World world;
  int rendered = 0;
  const auto render = [&](const Snapshot&) { return std::to_string(++rendered); };
  const TextPtr text = world.sampler.recent_text("a", render);
  CHECK(world.sampler.recent_text("a", render) == text);
  CHECK(*world.sampler.recent_text("b", render) == "2");
  world.time += 1s;
  CHECK(*world.sampler.recent_text("a", render) == "3");
  CHECK(*text == "1");  // whoever sends it still has it
}

TEST_CASE("a first look knows no rate, nor does one after a long pause") {
  World world;
  CHECK(!world.sampler.recent()->groups[0].rate);
  world.time += Sampler::kLongestRateSpan + 1s;
  CHECK(!world.sampler.recent()->groups[0].rate);
  world.time += 1s;
  CHECK(world.sampler.recent()->groups[0].rate == doctest::Approx(1000).epsilon(0.01));
}

// However irregularly it is asked, by those who want a fresh one and those who do not.
TEST_CASE("rates are those of the machine") {
  std::mt19937 random(7);
  World world;
  (void)world.sampler.recent();
  world.time += Sampler::kRateSpan;
  for (int i = 0; i < 5000; i++) {
    const SnapshotPtr snapshot = random() % 2 ? world.sampler.fresh() : world.sampler.recent();
    REQUIRE(snapshot->groups[0].rate);
    CHECK(*snapshot->groups[0].rate == doctest::Approx(1000).epsilon(0.01));
    CHECK(*snapshot->groups[0].members[0].rate == doctest::Approx(1000).epsilon(0.01));
    world.time += std::chrono::milliseconds(random() % (i % 2 ? 20 : 1500));
  }
}

TEST_CASE("a rate is over a second or so, also while somebody asks all the time") {
  World world;
  for (int i = 0; i < 3000; i++) {
    (void)world.sampler.fresh();
    world.time += 1ms;
  }
  world.per_second = 0;  // it stands still, below what was counted: no rate is made up
  CHECK(!world.sampler.fresh()->groups[0].rate);
  for (int i = 0; i < 2500; i++) {
    (void)world.sampler.fresh();
    world.time += 1ms;
  }
  CHECK(world.sampler.fresh()->groups[0].rate == doctest::Approx(0));
}

TEST_CASE("rates go by name: who came, and who went, has none") {
  Snapshot before;
  Snapshot after;
  const auto add = [](Snapshot& snapshot, const char* id, uint32_t uid,
                      std::vector<std::pair<uint32_t, uint64_t>> members) {
    GroupView group;
    group.id = id;
    group.uid = uid;
    for (auto [instance, selected] : members) {
      MemberView member;
      member.instance = instance;
      member.selected = selected;
      group.members.push_back(member);
      group.home += selected;
    }
    snapshot.groups.push_back(group);
  };
  add(before, "a", 0, {{0, 10}, {1, 10}, {3, 10}});
  add(before, "b", 0, {{0, 10}});
  add(before, "b", 7, {{0, 100}});
  add(after, "a", 0, {{1, 30}, {2, 5}, {3, 0}});
  add(after, "b", 7, {{0, 102}});
  add(after, "c", 0, {{0, 1}});
  add_rates(after, before, 2);
  CHECK(after.groups[0].members[0].rate == doctest::Approx(10));
  CHECK(!after.groups[0].members[1].rate);
  CHECK(!after.groups[0].members[2].rate);  // it went back: no rate below nothing
  CHECK(after.groups[0].rate == doctest::Approx(2.5));
  CHECK(after.groups[1].rate == doctest::Approx(1));
  CHECK(!after.groups[2].rate);
}

}  // namespace
}  // namespace subset::observe
