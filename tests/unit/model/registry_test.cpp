// SPDX-License-Identifier: MIT
#include "daemon/model/registry.h"

#include <algorithm>
#include <random>

#include <doctest/doctest.h>

#include "tests/unit/histories.h"

namespace subset {
namespace {

constexpr int kHistories = test::histories(2'000);
constexpr int kSteps = 60;  // of one history
constexpr uint32_t kOwnInode = 1;

GroupKey key_of(uint16_t port = 53, Protocol protocol = Protocol::Udp, uint32_t uid = 1000) {
  GroupKey key{.netns_inode = kOwnInode, .protocol = protocol, .port = port, .uid = uid};
  key.address = {127, 0, 0, 1};
  return key;
}

Claim claim_of(Cookie cookie, LineageId lineage, uint32_t instance, uint32_t total) {
  return {.key = key_of(),
          .cookie = cookie,
          .lineage = lineage,
          .total = total,
          .instance = instance,
          .pid = static_cast<int32_t>(lineage),
          .command = "server"};
}

Claim auto_claim(Cookie cookie, LineageId lineage) {
  Claim claim = claim_of(cookie, lineage, kAnyInstance, 0);
  claim.elastic = true;
  return claim;
}

// A registry whose kernel side always succeeds.
struct World {
  Registry registry{kOwnInode, {.groups_per_user = 3, .members_per_user = 24}};
  GroupSerial last_serial = 0;

  Result<Admission> join(const Claim& claim) {
    Result<Admission> admission = registry.admit(claim);
    if (admission) {
      registry.commit(claim, *admission, admission->group != 0 ? 0 : ++last_serial);
    }
    return admission;
  }

  const Group& group(GroupSerial serial = 1) const { return *registry.find(serial); }
  const Member& member(Cookie cookie) const {
    return registry.with_member(cookie)->members.at(cookie);
  }
};

using enum MemberState;

// --- What must hold at any time ---------------------------------------------------------------

void check_seats(const Group& group) {
  std::set<std::pair<uint32_t, uint32_t>> names;
  for (const Seat& seat : group.seats) {
    CHECK(names.emplace(seat.instance, seat.ordinal).second);
  }
  for (size_t slot = 0; slot < group.seats.size(); ++slot) {
    const Seat& seat = group.seats[slot];
    if (seat.cookie != 0) {
      REQUIRE(group.members.contains(seat.cookie));
      CHECK(group.members.at(seat.cookie).slot == slot);
    }
  }
}

void check_members(const Group& group) {
  std::set<std::pair<uint32_t, uint32_t>> names;
  for (const auto& [cookie, member] : group.members) {
    CHECK(member.cookie == cookie);
    CHECK(names.emplace(member.instance, member.ordinal).second);
    if (member.slot == kNoSlot) {
      CHECK(member.displaced);
    } else {
      REQUIRE(member.slot < group.seats.size());
      const Seat& seat = group.seats[member.slot];
      CHECK(seat == Seat{member.instance, member.ordinal, cookie});
    }
  }
}

void check_states(const Group& group) {
  for (const auto& [cookie, member] : group.members) {
    if (!group.current(member)) {
      CHECK(member.state == Draining);
    } else if (member.generation != group.generation) {
      CHECK(member.state == Pending);
    } else if (member.state != Held && !group.waits(member)) {
      CHECK(member.state == (group.drained(member.instance) ? Draining : Active));
    }
  }
}

void check_generations(const Group& group) {
  // Of an instance there is one lineage that serves, and with it at most one that waits.
  std::map<std::tuple<uint64_t, uint32_t, bool>, LineageId> holders;
  for (const auto& [cookie, member] : group.members) {
    if (!group.current(member)) {
      continue;
    }
    const uint32_t total =
        member.generation == group.generation ? group.total : group.pending_total;
    CHECK(member.instance < total);
    const auto name = std::tuple(member.generation, member.instance, group.waits(member));
    CHECK(holders.emplace(name, member.lineage).first->second == member.lineage);
  }
  for (const auto& [cookie, member] : group.members) {
    if (group.waits(member)) {
      CHECK(holders.contains({group.generation, member.instance, false}));
    }
  }
  if (group.pending_total != 0) {
    CHECK(group.pending_generation > group.generation);
    CHECK_FALSE(group.held_instances(group.generation).empty());
    const size_t pending = group.held_instances(group.pending_generation).size();
    CHECK((pending > 0 && pending < group.pending_total));
  }
  if (group.elastic && group.pending_total == 0) {
    CHECK(group.total == std::max<size_t>(group.held_instances(group.generation).size(), 1));
  }
}

void check_selectable(const Group& group) {
  std::set<Slot> slots;
  for (const PlanMember& member : Registry::selectable(group)) {
    CHECK(slots.insert(member.slot).second);
    CHECK(member.weight == group.weight_of(member.instance));
    CHECK_FALSE(group.drained(member.instance));
  }
}

// The registry counts along with what changes: a count of what is there now gives the same.
void check_usage(const Registry& registry, const std::set<uint32_t>& users) {
  std::map<uint32_t, Registry::Usage> counted;
  Registry::Usage of_all;
  for (const auto& [serial, group] : registry.groups()) {
    for (Registry::Usage* usage : {&counted[group.key.uid], &of_all}) {
      if (usage == &of_all && group.key.uid == 0) {
        continue;
      }
      usage->groups += 1;
      usage->members += static_cast<int64_t>(group.members.size());
      usage->instances += std::max(group.total, group.pending_total);
    }
  }
  for (const uint32_t uid : users) {
    CAPTURE(uid);
    CHECK(registry.usage_of(uid) == counted[uid]);
  }
  CHECK(registry.usage_of_all() == of_all);
}

void check_all(const Registry& registry) {
  std::set<std::string> ids;
  for (const auto& [serial, group] : registry.groups()) {
    CHECK(group.serial == serial);
    CHECK(ids.insert(group.id).second);
    CHECK(registry.find(group.key) == &group);
    CHECK(group.members.empty() == group.empty_since.has_value());
    check_seats(group);
    check_members(group);
    check_states(group);
    check_generations(group);
    check_selectable(group);
  }
}

// --- Random histories -------------------------------------------------------------------------

class History {
  static constexpr Quotas kFewOfAll{.groups_per_user = 3,
                                    .members_per_user = 8,
                                    .instances_per_user = 7,
                                    .groups = 5,
                                    .members = 13,
                                    .instances = 12};
  // Each of six sockets, of thirty.
  static constexpr uint32_t kUsers[] = {1000, 1000, 1000, 1001, 1001, 0};

 public:
  explicit History(uint32_t seed) : random_(seed) {}

  void step() {
    switch (pick(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        claim();
        break;
      case 4:
      case 5:
        depart();
        break;
      case 6:
        operate();
        break;
      case 7:
        hold();
        break;
      case 8:
        world_.registry.forget(1 + pick(8));
        break;
      case 9:
        restart();
        break;
      case 10:
        begin_use();
        break;
      default:
        same_claim_again();
        break;
    }
    check_all(world_.registry);
    check_usage(world_.registry, {0, 1000, 1001});
    check_within_quotas();
  }

 private:
  uint32_t pick(uint32_t below) { return random_() % below; }
  bool coin() { return pick(2) == 0; }

  std::optional<uint32_t> maybe(uint32_t below) {
    return coin() ? std::optional(pick(below)) : std::nullopt;
  }

  Claim random_claim() {
    const uint32_t total = 1 + pick(4);
    Claim claim = claim_of(1 + pick(30), 1 + pick(6), coin() ? pick(total) : kAnyInstance, total);
    claim.key = key_of(53 + claim.cookie % 2);  // a socket keeps its address, and its owner
    claim.key.v6only = claim.cookie % 3 == 0;
    claim.key.uid = kUsers[claim.cookie / 6];
    claim.elastic = pick(3) == 0;
    claim.tells_use = coin();
    claim.conflict = coin() ? Conflict::Takeover : Conflict::Refuse;
    if (pick(4) == 0) {
      claim.weight = 1 + pick(kMaxWeight);
    }
    return claim;
  }

  void claim() {
    last_ = random_claim();
    const std::map<GroupSerial, Group> before = world_.registry.groups();
    const Result<Admission> admission = world_.registry.admit(last_);
    CHECK(world_.registry.groups() == before);
    if (!admission) {
      CHECK_FALSE(admission.error().context.empty());
      return;
    }
    const GroupSerial serial = world_.last_serial + 1;
    world_.last_serial += admission->group == 0;
    check_written(world_.registry.commit(last_, *admission, serial), *admission);
  }

  void check_written(const Group& group, const Admission& admission) {
    REQUIRE(group.members.contains(last_.cookie));
    const Member& member = group.members.at(last_.cookie);
    CHECK(member.lineage == last_.lineage);
    CHECK(member.slot == admission.slot);
    CHECK(member.generation == admission.generation);
    if (!group.elastic) {
      CHECK(member.instance == admission.instance);
      CHECK(member.ordinal == admission.ordinal);
    }
    for (const Cookie cookie : admission.displaced) {
      CHECK(group.members.at(cookie).displaced);
    }
  }

  // Whoever is in and asks again for the same stays where it is.
  void same_claim_again() {
    const Group* group = world_.registry.find(last_.key);
    if (group == nullptr || !group->members.contains(last_.cookie)) {
      return;
    }
    const Member before = group->members.at(last_.cookie);
    if (!before.holds_in(group->generation) || (!last_.elastic && last_.total != group->total)) {
      return;
    }
    last_.instance = before.instance;
    const Result<Admission> admission = world_.join(last_);
    REQUIRE(admission);
    CHECK(admission->instance == before.instance);
    const bool moves = before.state == Pending && !last_.tells_use;  // where the holder was
    CHECK((admission->known || moves));
    CHECK((admission->slot == before.slot || moves));
  }

  void depart() {
    const Cookie cookie = 1 + pick(30);
    const Group* group = world_.registry.with_member(cookie);
    const GroupSerial serial = group != nullptr ? group->serial : 1;
    const auto departure = world_.registry.depart(serial, cookie, Time{});
    CHECK(departure.has_value() == (group != nullptr));
    CHECK(world_.registry.with_member(cookie) == nullptr);
  }

  void begin_use() {
    const Cookie cookie = 1 + pick(30);
    const Group* group = world_.registry.with_member(cookie);
    const bool waits = group != nullptr && group->waits(group->members.at(cookie));
    const GroupSerial serial = group != nullptr ? group->serial : 1;
    CHECK(world_.registry.begin_use(serial, cookie) == waits);
    CHECK((!waits || !group->waits(group->members.at(cookie))));
  }

  void operate() {
    const GroupSerial serial = 1 + pick(8);
    switch (pick(5)) {
      case 0:
        (void)world_.registry.set_drained(serial, maybe(4), true);
        break;
      case 1:
        (void)world_.registry.set_drained(serial, maybe(4), false);
        break;
      case 2:
        (void)world_.registry.set_weight(serial, maybe(4), pick(kMaxWeight + 2));
        break;
      case 3:
        (void)world_.registry.activate(serial);
        break;
      default:
        (void)world_.registry.abandon(serial);
        break;
    }
  }

  // Another daemon finds what this one had.
  void restart() {
    Registry next(kOwnInode, kFewOfAll);
    for (const auto& [serial, group] : world_.registry.groups()) {
      next.adopt(group);
    }
    world_.registry = std::move(next);
  }

  void check_within_quotas() const {
    for (const uint32_t uid : {1000u, 1001u}) {
      const Registry::Usage usage = world_.registry.usage_of(uid);
      CHECK(usage.groups <= kFewOfAll.groups_per_user);
      CHECK(usage.members <= kFewOfAll.members_per_user);
      CHECK(usage.instances <= kFewOfAll.instances_per_user);
    }
    const Registry::Usage of_all = world_.registry.usage_of_all();
    CHECK(of_all.groups <= kFewOfAll.groups);
    CHECK(of_all.members <= kFewOfAll.members);
    CHECK(of_all.instances <= kFewOfAll.instances);
  }

  void hold() {
    const Cookie cookie = 1 + pick(30);
    const Group* group = world_.registry.with_member(cookie);
    if (group != nullptr && world_.registry.hold(group->serial, cookie)) {
      CHECK(group->members.at(cookie).state == Held);
    }
  }

  std::mt19937 random_;
  World world_{.registry = Registry(kOwnInode, kFewOfAll)};
  Claim last_;
};

TEST_CASE("random histories keep the registry's order") {
  for (uint32_t seed = 0; seed < kHistories; ++seed) {
    CAPTURE(seed);
    History history(seed);
    for (int step = 0; step < kSteps; ++step) {
      history.step();
    }
  }
}

// --- Joining ----------------------------------------------------------------------------------

TEST_CASE("the first claim makes the group, active at once") {
  World world;
  const auto admission = world.join(claim_of(7, 1, 2, 4));
  REQUIRE(admission);
  CHECK(admission->group == 0);
  CHECK(admission->slot == 0);
  CHECK(admission->instance == 2);
  CHECK(admission->state == Active);
  CHECK(world.group().id == "udp/127.0.0.1:53");
  CHECK(world.group().total == 4);
  CHECK(world.group().generation == 1);
  CHECK(Registry::selectable(world.group()) ==
        std::vector<PlanMember>{{.slot = 0, .instance = 2, .ordinal = 0}});
}

TEST_CASE("what cannot be is refused with a text") {
  World world;
  const auto code = [&](auto change) {
    Claim claim = claim_of(1, 1, 0, 1);
    change(claim);
    const auto admission = world.join(claim);
    REQUIRE_FALSE(admission);
    return admission.error().code;
  };
  CHECK(code([](Claim& c) { c.total = 0; }) == EINVAL);
  CHECK(code([](Claim& c) { c.total = kMaxTotal + 1; }) == EINVAL);
  CHECK(code([](Claim& c) { c.instance = 1; }) == EINVAL);
  CHECK(code([](Claim& c) { c.weight = 0; }) == EINVAL);
  CHECK(code([](Claim& c) { c.weight = kMaxWeight + 1; }) == EINVAL);
  CHECK(code([](Claim& c) { c.cookie = 0; }) == EINVAL);
  CHECK(code([](Claim& c) { c.mode = Mode::Least; }) == EINVAL);
  CHECK(code([](Claim& c) {
          c.key = key_of(80, Protocol::Tcp);
          c.mode = Mode::Random;
        }) == EINVAL);
  CHECK(world.registry.groups().empty());
}

TEST_CASE("any instance: the lineage's own, then its own elsewhere, then the lowest vacant one") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 4)));
  CHECK(world.join(claim_of(2, 2, kAnyInstance, 4))->instance == 1);
  CHECK(world.join(claim_of(3, 2, kAnyInstance, 4))->instance == 1);
  CHECK(world.member(3).ordinal == 1);

  Claim elsewhere = claim_of(4, 2, kAnyInstance, 4);
  elsewhere.key.port = 54;
  CHECK(world.join(elsewhere)->instance == 1);

  CHECK(world.join(claim_of(5, 3, kAnyInstance, 4))->instance == 2);
  CHECK(world.join(claim_of(6, 4, kAnyInstance, 4))->instance == 3);
  const auto full = world.join(claim_of(7, 5, kAnyInstance, 4));
  REQUIRE_FALSE(full);
  CHECK(full.error().code == EBUSY);
  CHECK(full.error().context == "no vacant instance of 4 in udp/127.0.0.1:53");
}

TEST_CASE("the instance held elsewhere does not count when it is taken here") {
  World world;
  Claim elsewhere = claim_of(1, 1, 0, 4);
  elsewhere.key.port = 54;
  REQUIRE(world.join(elsewhere));
  REQUIRE(world.join(claim_of(2, 2, 0, 4)));
  CHECK(world.join(claim_of(3, 1, kAnyInstance, 4))->instance == 1);
}

TEST_CASE("a socket that registers again keeps its place, and may be handed over") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  REQUIRE(world.join(claim_of(2, 1, 0, 2)));
  Claim again = claim_of(1, 9, 0, 2);
  again.conflict = Conflict::Refuse;
  const auto admission = world.join(again);
  REQUIRE(admission);
  CHECK(admission->known);
  CHECK(admission->slot == 0);
  CHECK(world.member(1).pid == 9);
  CHECK(world.member(2).lineage == 9);  // the instance went as a whole
  CHECK(world.member(2).pid == 1);
}

TEST_CASE("one socket cannot be the instances of two processes at once") {
  World world;
  REQUIRE(world.join(claim_of(1, 10, 0, 4)));
  const Result<Admission> second = world.join(claim_of(1, 11, 1, 4));
  REQUIRE_FALSE(second);
  CHECK(second.error().code == EBUSY);
  CHECK(second.error().message().find("a socket of its own") != std::string::npos);
  CHECK(world.member(1).pid == 10);

  // The same instance is handed over; and so is any, when its holder has gone.
  REQUIRE(world.join(claim_of(1, 11, 0, 4)));
  CHECK(world.member(1).pid == 11);
  world.registry.set_process(1, 1, 0, {});
  REQUIRE(world.join(claim_of(1, 12, 2, 4)));
  CHECK(world.member(1).instance == 2);
}

TEST_CASE("a socket that asks for another instance moves") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  const auto admission = world.join(claim_of(1, 1, 1, 2));
  REQUIRE(admission);
  CHECK_FALSE(admission->known);
  CHECK(admission->vacates == Slot{0});
  CHECK(admission->slot == 1);
  CHECK(world.group().seats[0].cookie == 0);
  CHECK(world.group().members.size() == 1);
}

TEST_CASE("a vacant seat is taken again before there is a new one") {
  World world;
  for (Cookie cookie = 1; cookie <= 3; ++cookie) {
    REQUIRE(world.join(claim_of(cookie, 1, 0, 1)));
  }
  world.registry.depart(1, 2, Time{});
  CHECK(world.join(claim_of(4, 1, 0, 1))->slot == 1);
  CHECK(world.member(4).ordinal == 1);
  CHECK(world.join(claim_of(5, 1, 0, 1))->slot == 3);
}

// --- Conflicts --------------------------------------------------------------------------------

TEST_CASE("refuse names the holder") {
  World world;
  REQUIRE(world.join(claim_of(1, 42, 0, 2)));
  Claim claim = claim_of(2, 43, 0, 2);
  claim.conflict = Conflict::Refuse;
  const auto admission = world.join(claim);
  REQUIRE_FALSE(admission);
  CHECK(admission.error().code == EBUSY);
  CHECK(admission.error().context == "instance 0 of udp/127.0.0.1:53 is held by pid 42 (server)");
}

TEST_CASE("a holder's command cannot write to a terminal") {
  World world;
  Claim holder = claim_of(1, 42, 0, 2);
  holder.command = "a\nb\x1b[2J";
  REQUIRE(world.join(holder));
  Claim claim = claim_of(2, 43, 0, 2);
  claim.conflict = Conflict::Refuse;
  CHECK(world.join(claim).error().context ==
        "instance 0 of udp/127.0.0.1:53 is held by pid 42 (a?b?[2J)");
}

TEST_CASE("takeover: the newcomer gets the first seat, the old members drain") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  REQUIRE(world.join(claim_of(2, 1, 0, 2)));
  REQUIRE(world.join(claim_of(3, 2, 1, 2)));
  const auto admission = world.join(claim_of(4, 3, 0, 2));
  REQUIRE(admission);
  CHECK(admission->slot == 0);
  CHECK(admission->displaced == std::vector<Cookie>{1, 2});
  CHECK(world.member(4).ordinal == 0);
  CHECK(world.member(1).slot == kNoSlot);
  CHECK(world.member(1).ordinal == 2);
  CHECK(world.member(2).slot == 1);
  CHECK(world.member(1).state == Draining);
  CHECK(world.member(2).state == Draining);

  // A draining member's seat is not vacant until it has gone.
  CHECK(world.join(claim_of(5, 3, 0, 2))->slot == 3);
  CHECK(world.member(5).ordinal == 3);
  world.registry.depart(1, 2, Time{});
  CHECK(world.join(claim_of(6, 3, 0, 2))->slot == 1);
  world.registry.depart(1, 1, Time{});
  check_all(world.registry);
}

Claim patient_claim(Cookie cookie, LineageId lineage, uint32_t instance, uint32_t total) {
  Claim claim = claim_of(cookie, lineage, instance, total);
  claim.tells_use = true;
  return claim;
}

TEST_CASE("a takeover waits for the first use, and the holder serves until then") {
  World world;
  REQUIRE(world.join(patient_claim(1, 1, 0, 2)));
  CHECK(world.member(1).state == Active);  // nobody to wait for
  const auto first = world.join(patient_claim(2, 2, 0, 2));
  const auto second = world.join(patient_claim(3, 2, 0, 2));
  REQUIRE((first && second));
  CHECK((first->waits && second->waits));
  CHECK(first->displaced.empty());
  CHECK(first->slot != world.member(1).slot);
  CHECK(world.member(1).state == Active);
  CHECK(Registry::selectable(world.group()).size() == 1);
  check_all(world.registry);

  SUBCASE("it claims again: its lineage takes over, its others join when they are used") {
    const auto used = world.join(claim_of(2, 2, 0, 2));
    REQUIRE(used);
    CHECK(used->displaced == std::vector<Cookie>{1});
    CHECK(used->slot == 0);  // the holder's: its counter goes on
    CHECK(used->vacates == first->slot);
    CHECK(world.member(2).state == Active);
    CHECK(world.member(3).state == Pending);
    CHECK(world.member(1).state == Draining);
    CHECK(world.join(claim_of(3, 2, 0, 2))->displaced.empty());
    CHECK(world.member(3).state == Active);
  }
  SUBCASE("time is up") {
    CHECK(world.registry.begin_use(1, 3));
    CHECK(world.member(3).state == Active);
    CHECK(world.member(2).state == Pending);
    CHECK(world.member(1).displaced);
    CHECK_FALSE(world.registry.begin_use(1, 3));
  }
  SUBCASE("the holder goes") {
    world.registry.depart(1, 1, Time{});
    CHECK(world.member(2).state == Active);
    CHECK(world.member(3).state == Active);
  }
  SUBCASE("the holder is drained") {
    REQUIRE(world.registry.set_drained(1, 0, true));
    CHECK(world.member(1).displaced);
    CHECK(world.member(2).state == Draining);
    REQUIRE(world.registry.set_drained(1, 0, false));
    CHECK(world.member(1).state == Draining);
    CHECK(world.member(2).state == Active);
  }
  SUBCASE("it dies") {
    world.registry.depart(1, 2, Time{});
    world.registry.depart(1, 3, Time{});
    CHECK(world.member(1).state == Active);
  }
  SUBCASE("the newest wins") {
    CHECK(world.join(patient_claim(4, 3, 0, 2))->displaced == std::vector<Cookie>{2, 3});
    CHECK(world.member(1).state == Active);
    CHECK(world.join(claim_of(2, 2, 0, 2))->state == Draining);
    CHECK(world.join(claim_of(4, 3, 0, 2))->displaced == std::vector<Cookie>{1});
    CHECK(world.member(4).state == Active);
  }
  SUBCASE("the holder opens another socket") {
    CHECK(world.join(patient_claim(4, 1, 0, 2))->state == Active);
    CHECK(world.member(2).state == Pending);
  }
  SUBCASE("who does not tell of its use takes over at once") {
    CHECK(world.join(claim_of(4, 3, 0, 2))->displaced == std::vector<Cookie>{1, 2, 3});
    CHECK(world.member(4).state == Active);
  }
  check_all(world.registry);
}

TEST_CASE("only a datagram socket waits, and only for who serves") {
  World world;
  Claim tcp = patient_claim(1, 1, 0, 1);
  tcp.key = key_of(80, Protocol::Tcp);
  REQUIRE(world.join(tcp));
  tcp.cookie = tcp.lineage = 2;
  CHECK(world.join(tcp)->displaced == std::vector<Cookie>{1});

  REQUIRE(world.join(patient_claim(3, 3, 0, 1)));
  Claim refuse = patient_claim(4, 4, 0, 1);
  refuse.conflict = Conflict::Refuse;
  CHECK(world.join(refuse).error().code == EBUSY);
  REQUIRE(world.registry.hold(2, 3));
  CHECK(world.join(patient_claim(4, 4, 0, 1))->displaced == std::vector<Cookie>{3});
  REQUIRE(world.registry.set_drained(2, 0, true));
  CHECK(world.join(patient_claim(5, 5, 0, 1))->displaced == std::vector<Cookie>{4});
}

TEST_CASE("a daemon that starts lets wait who came last") {
  World world;
  Claim claim = patient_claim(2, 1, 0, 1);
  claim.now = Time{std::chrono::seconds(1)};
  REQUIRE(world.join(claim));
  claim = patient_claim(1, 2, 0, 1);
  claim.now = Time{std::chrono::seconds(2)};
  REQUIRE(world.join(claim));
  Group found = world.group();
  for (auto& [cookie, member] : found.members) {
    member.state = Active;  // of pins and tags
  }
  Registry next(kOwnInode);
  const Group& adopted = next.adopt(found);
  CHECK(adopted.members.at(2).state == Active);
  CHECK(adopted.waits(adopted.members.at(1)));
}

TEST_CASE("who has been displaced does not take the instance back") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  REQUIRE(world.join(claim_of(2, 2, 0, 1)));
  const auto admission = world.join(claim_of(1, 1, 0, 1));
  REQUIRE(admission);
  CHECK(admission->known);
  CHECK(admission->slot == kNoSlot);
  CHECK(admission->state == Draining);
  CHECK_FALSE(admission->warning.empty());
  CHECK(world.member(2).state == Active);
}

TEST_CASE("a held socket is selected, comes back by itself, and gives way to a live process") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  CHECK(world.registry.hold(1, 1));
  CHECK_FALSE(world.registry.hold(1, 1));
  CHECK_FALSE(world.registry.hold(1, 9));
  CHECK_FALSE(world.registry.hold(9, 1));
  CHECK(Registry::selectable(world.group()).size() == 1);
  CHECK(world.member(1).pid == 0);

  SUBCASE("the next process gets that very socket") {
    CHECK(world.join(claim_of(1, 2, 0, 1))->known);
    CHECK(world.member(1).state == Active);
  }
  SUBCASE("or brings its own") {
    Claim claim = claim_of(2, 2, 0, 1);
    claim.conflict = Conflict::Refuse;
    CHECK(world.join(claim)->slot == 0);
    CHECK(world.member(1).state == Draining);
  }
}

// --- Held sockets for those that are about to bind --------------------------------------------

// A group whose first claim says hold, with instances 0/4 to 3/4 of lineages 1 to 4; instance 1 has
// two sockets more.
World holding_world() {
  World world;
  for (uint32_t i = 0; i < 4; ++i) {
    Claim claim = claim_of(i + 1, i + 1, i, 4);
    claim.vacancy = Vacancy::Hold;
    REQUIRE(world.join(claim));
  }
  REQUIRE(world.join(claim_of(12, 2, 1, 4)));
  REQUIRE(world.join(claim_of(13, 2, 1, 4)));
  return world;
}

Claim about_to_bind(LineageId lineage, uint32_t instance, uint32_t total = 4) {
  return claim_of(0, lineage, instance, total);
}

TEST_CASE("nothing is held for anybody: alive, another group, another total, another vacancy") {
  World world = holding_world();
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, 1)));
  REQUIRE(world.registry.hold(1, 1));
  CHECK(world.registry.find_held(about_to_bind(9, 0)) == 1);
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, 1)));
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, 0, 5)));
  Claim elsewhere = about_to_bind(9, 0);
  elsewhere.key.uid = 1001;
  CHECK_FALSE(world.registry.find_held(elsewhere));

  World spread;
  REQUIRE(spread.join(claim_of(1, 1, 0, 1)));
  REQUIRE(spread.registry.hold(1, 1));
  CHECK_FALSE(spread.registry.find_held(about_to_bind(9, 0, 1)));
}

TEST_CASE("the n-th bind gets the n-th socket, each once") {
  World world = holding_world();
  for (Cookie cookie : {2, 12, 13}) REQUIRE(world.registry.hold(1, cookie));
  for (Cookie expected : {2, 12, 13}) {
    auto cookie = world.registry.find_held(about_to_bind(9, 1));
    REQUIRE(cookie == expected);
    CHECK(world.join(claim_of(*cookie, 9, 1, 4))->known);
    CHECK(world.member(*cookie).state == Active);
  }
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, 1)));
  CHECK_FALSE(world.registry.find_held(about_to_bind(10, 1)));
}

TEST_CASE("an instance that somebody else lives in is taken over whole") {
  World world = holding_world();
  REQUIRE(world.registry.hold(1, 12));
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, 1)));
  CHECK(world.registry.find_held(about_to_bind(2, 1)) == 12);  // its own, which it has closed
}

TEST_CASE("any instance: a held one first, the same in all groups") {
  World world = holding_world();
  for (Cookie cookie : {3, 4}) REQUIRE(world.registry.hold(1, cookie));
  CHECK(world.registry.find_held(about_to_bind(9, kAnyInstance)) == 3);
  CHECK(world.registry.find_held(auto_claim(0, 9)) == 3);
  CHECK(world.join(claim_of(3, 9, kAnyInstance, 4))->known);
  CHECK_FALSE(world.registry.find_held(about_to_bind(9, kAnyInstance)));  // it has its instance
  CHECK(world.registry.find_held(about_to_bind(10, kAnyInstance)) == 4);

  Claim other = claim_of(21, 10, 3, 4);
  other.key = key_of(54);
  REQUIRE(world.join(other));
  REQUIRE(world.registry.hold(1, 1));
  CHECK(world.registry.find_held(about_to_bind(10, kAnyInstance)) == 4);
}

TEST_CASE("who has no use for the held socket takes the instance over when no other is vacant") {
  World world = holding_world();
  CHECK(world.join(claim_of(20, 9, kAnyInstance, 4)).error().code == EBUSY);
  REQUIRE(world.registry.hold(1, 4));
  const auto admission = world.join(claim_of(20, 9, kAnyInstance, 4));
  REQUIRE(admission);
  CHECK(admission->instance == 3);
  CHECK(admission->displaced == std::vector<Cookie>{4});
}

TEST_CASE("an instance lives on with any member that is there") {
  World world = holding_world();
  CHECK(lives_without(world.group(), world.member(2), {2}));
  CHECK(lives_without(world.group(), world.member(2), {2, 12}));
  CHECK_FALSE(lives_without(world.group(), world.member(2), {2, 12, 13}));
  REQUIRE(world.registry.hold(1, 13));
  CHECK_FALSE(lives_without(world.group(), world.member(2), {2, 12}));
  CHECK_FALSE(lives_without(world.group(), world.member(1), {}));
}

// --- Generations ------------------------------------------------------------------------------

TEST_CASE("another total waits until it is complete, then flips") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  const auto first = world.join(claim_of(2, 2, 0, 2));
  REQUIRE(first);
  CHECK(first->state == Pending);
  CHECK(first->generation == 2);
  CHECK(world.group().pending_total == 2);
  CHECK(Registry::selectable(world.group()).size() == 1);

  REQUIRE(world.join(claim_of(3, 3, 1, 2)));
  CHECK(world.group().generation == 2);
  CHECK(world.group().total == 2);
  CHECK(world.group().pending_total == 0);
  CHECK(world.member(1).state == Draining);
  CHECK(world.member(1).slot == 0);
  CHECK(world.member(2).state == Active);
  CHECK(world.member(3).state == Active);
  CHECK(world.group().active_members() == 2);
}

TEST_CASE("a third total replaces the pending one, and numbers are not used twice") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  REQUIRE(world.join(claim_of(2, 2, 0, 2)));
  const auto admission = world.join(claim_of(3, 3, 0, 3));
  REQUIRE(admission);
  CHECK(admission->generation == 3);
  CHECK(admission->warning ==
        "the pending generation of 2 gives way to one of 3: its members drain");
  CHECK(world.member(2).state == Draining);
  world.registry.depart(1, 3, Time{});
  CHECK(world.group().pending_total == 0);
  CHECK(world.join(claim_of(4, 4, 0, 2))->generation == 4);
}

TEST_CASE("activate forces a pending generation, abandon drops it") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  CHECK(world.registry.activate(1).error().code == ENOENT);
  CHECK(world.registry.abandon(1).error().code == ENOENT);
  REQUIRE(world.join(claim_of(2, 2, 1, 2)));
  SUBCASE("activate") {
    REQUIRE(world.registry.activate(1));
    CHECK(world.group().total == 2);
    CHECK(world.member(1).state == Draining);
    CHECK(world.member(2).state == Active);
  }
  SUBCASE("abandon") {
    REQUIRE(world.registry.abandon(1));
    CHECK(world.group().total == 1);
    CHECK(world.member(1).state == Active);
    CHECK(world.member(2).state == Draining);
  }
  CHECK(world.group().pending_total == 0);
  check_all(world.registry);
}

TEST_CASE("a pending generation that stands alone is active") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  SUBCASE("because the active members went") {
    REQUIRE(world.join(claim_of(2, 2, 1, 2)));
    world.registry.depart(1, 1, Time{});
  }
  SUBCASE("because they had gone before") {
    world.registry.depart(1, 1, Time{});
    REQUIRE(world.join(claim_of(2, 2, 1, 2)));
  }
  SUBCASE("because the active member itself moved there") {
    REQUIRE(world.join(claim_of(1, 1, 1, 2)));
  }
  CHECK(world.group().total == 2);
  CHECK(Registry::selectable(world.group()).size() == 1);
}

// --- Elastic groups ---------------------------------------------------------------------------

TEST_CASE("an elastic group grows and shrinks with its lineages") {
  World world;
  for (Cookie cookie = 1; cookie <= 3; ++cookie) {
    const auto admission = world.join(auto_claim(cookie, cookie));
    CHECK(admission->instance == cookie - 1);
    CHECK(admission->total == cookie);
  }
  CHECK(world.join(auto_claim(4, 2))->instance == 1);
  CHECK(world.group().total == 3);
  REQUIRE(world.registry.set_weight(1, 2, 300));

  const auto departure = world.registry.depart(1, 1, Time{});
  CHECK(departure->renumbered == std::vector<Cookie>{3});
  CHECK(world.group().total == 2);
  CHECK(world.member(3).instance == 0);
  CHECK(world.member(3).slot == 2);
  CHECK(world.group().seats[2] == Seat{0, 0, 3});
  CHECK(world.group().seats[0] == Seat{2, 0, 0});
  CHECK(world.group().weight_of(0) == 300);
  CHECK(world.group().weight_of(2) == kDefaultWeight);

  CHECK(world.join(auto_claim(5, 5))->slot == 0);
  CHECK(world.member(5).instance == 2);
  check_all(world.registry);
}

TEST_CASE("auto in a group of fixed total takes a vacant instance of it") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  CHECK(world.join(auto_claim(2, 2))->instance == 1);
  CHECK(world.join(auto_claim(3, 3)).error().code == EBUSY);
}

TEST_CASE("a fixed total in an elastic group: equal joins, other waits") {
  World world;
  REQUIRE(world.join(auto_claim(1, 1)));
  REQUIRE(world.join(auto_claim(2, 2)));
  SUBCASE("equal") {
    CHECK(world.join(claim_of(3, 3, 1, 2))->displaced == std::vector<Cookie>{2});
    CHECK(world.group().total == 2);
  }
  SUBCASE("other, meanwhile no instance is renumbered") {
    REQUIRE(world.join(claim_of(3, 3, 0, 3)));
    CHECK(world.registry.depart(1, 1, Time{})->renumbered.empty());
    CHECK(world.member(2).instance == 1);
    REQUIRE(world.registry.abandon(1));
    CHECK(world.member(2).instance == 0);
    CHECK(world.group().total == 1);
  }
  SUBCASE("complete, it ends the elasticity") {
    for (Cookie cookie = 3; cookie <= 5; ++cookie) {
      REQUIRE(world.join(claim_of(cookie, cookie, cookie - 3, 3)));
    }
    CHECK_FALSE(world.group().elastic);
    CHECK(world.group().total == 3);
  }
  check_all(world.registry);
}

// --- Operators --------------------------------------------------------------------------------

TEST_CASE("drain and resume") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  REQUIRE(world.join(claim_of(2, 2, 1, 2)));
  REQUIRE(world.registry.set_drained(1, 0, true));
  CHECK(world.member(1).state == Draining);
  CHECK(world.member(1).slot == 0);
  CHECK(Registry::selectable(world.group()).size() == 1);

  SUBCASE("resume") {
    REQUIRE(world.registry.set_drained(1, 0, false));
    CHECK(world.member(1).state == Active);
    CHECK(world.registry.set_drained(1, 0, false).error().code == ENOENT);
    CHECK(world.registry.set_drained(1, std::nullopt, false).error().code == ENOENT);
  }
  SUBCASE("who comes to a drained instance is drained, and told so") {
    const auto admission = world.join(claim_of(3, 3, 0, 2));
    CHECK(admission->state == Draining);
    CHECK(admission->warning ==
          "instance 0 is drained: it gets no traffic until: subset resume udp/127.0.0.1:53 0");
    REQUIRE(world.registry.set_drained(1, 0, false));
    CHECK(world.member(3).state == Active);
    CHECK(world.member(1).state == Draining);  // displaced: for good
  }
  SUBCASE("all") {
    REQUIRE(world.registry.set_drained(1, std::nullopt, true));
    CHECK(Registry::selectable(world.group()).empty());
    REQUIRE(world.registry.set_drained(1, std::nullopt, false));
    CHECK(Registry::selectable(world.group()).size() == 2);
  }
}

TEST_CASE("operators' errors") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 4)));
  CHECK(world.registry.set_drained(9, 0, true).error().code == ENOENT);
  CHECK(world.registry.set_drained(1, 4, true).error().code == EINVAL);
  CHECK(world.registry.set_drained(1, 3, true).error().code == ENOENT);
  CHECK(world.registry.set_weight(1, 0, 0).error().code == EINVAL);
  CHECK(world.registry.set_weight(1, 0, 1001).error().code == EINVAL);
  CHECK(world.registry.set_mode(1, Mode::Least).error().context ==
        "mode least needs TCP: it counts open connections");
  REQUIRE(world.registry.set_mode(1, Mode::Source));
  CHECK(world.group().mode == Mode::Source);
}

TEST_CASE("an instance's weight is what was said last") {
  World world;
  Claim claim = claim_of(1, 1, 0, 2);
  claim.weight = 200;
  CHECK(world.join(claim)->weight == 200);
  REQUIRE(world.registry.set_weight(1, 0, 50));
  CHECK(world.join(claim_of(2, 1, 0, 2))->weight == 50);
  CHECK(world.join(claim)->weight == 200);
  CHECK(world.group().weight_of(0) == 200);
  CHECK(Registry::vacant_weights(world.group()) ==
        std::vector<std::pair<uint32_t, uint32_t>>{{0, 200}});
  REQUIRE(world.registry.set_weight(1, std::nullopt, kDefaultWeight));
  CHECK(world.group().instances.empty());
}

TEST_CASE("mode and vacancy are the first claim's") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  Claim claim = claim_of(2, 2, 1, 2);
  claim.mode = Mode::Source;
  claim.vacancy = Vacancy::Refuse;
  const auto admission = world.join(claim);
  CHECK(admission->mode == Mode::Hash);
  CHECK(admission->warning ==
        "mode stays hash (asked source); change it with: subset mode udp/127.0.0.1:53 source; "
        "vacancy stays spread (asked refuse): the first socket of udp/127.0.0.1:53 decided");
}

TEST_CASE("a group is its owner's and root's") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  CHECK(may_change(world.group(), 0));
  CHECK(may_change(world.group(), 1000));
  CHECK_FALSE(may_change(world.group(), 1001));
}

// --- Groups -----------------------------------------------------------------------------------

TEST_CASE("ids that would be equal say in what the groups differ") {
  World world;
  Cookie cookie = 0;
  const auto id_of = [&](auto change) {
    Claim claim = claim_of(++cookie, 1, 0, 1);
    claim.key.uid = 0;
    change(claim.key);
    REQUIRE(world.join(claim));
    return world.registry.find(claim.key)->id;
  };
  CHECK(id_of([](GroupKey&) {}) == "udp/127.0.0.1:53");
  CHECK(id_of([](GroupKey& k) { k.device = 2; }) == "udp/127.0.0.1%2:53");
  CHECK(id_of([](GroupKey& k) { k.v6only = true; }) == "udp/127.0.0.1#v6only:53");
  CHECK(id_of([](GroupKey& k) { k.uid = 5; }) == "udp/127.0.0.1#5:53");
  CHECK(id_of([](GroupKey& k) { k.device = 2, k.uid = 5; }) == "udp/127.0.0.1%2#5:53");
  CHECK(id_of([](GroupKey& k) { k.netns_cookie = 9; }) == "udp/127.0.0.1#0:53");
  CHECK(id_of([](GroupKey& k) { k.netns_cookie = 8; }) == "udp/127.0.0.1#0#8:53");
  CHECK(world.registry.find_id("udp/127.0.0.1#5:53")->key.uid == 5);
  CHECK(world.registry.find_id("udp/127.0.0.2:53") == nullptr);
}

TEST_CASE("quotas are by user, and not for root") {
  World world;
  for (uint16_t port = 1; port <= 3; ++port) {
    Claim claim = claim_of(port, 1, 0, 1);
    claim.key = key_of(port);
    REQUIRE(world.join(claim));
  }
  Claim fourth = claim_of(4, 1, 0, 1);
  fourth.key = key_of(4);
  CHECK(world.join(fourth).error().context ==
        "user 1000: 3 groups; the limit is 3 (groups in [quotas] of subsetd.toml)");
  fourth.key.uid = 0;
  CHECK(world.join(fourth));

  Claim more = claim_of(5, 1, 0, 1);
  more.key = key_of(1);
  for (; more.cookie < 26; ++more.cookie) {
    REQUIRE(world.join(more));
  }
  const auto refused = world.join(more);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ENOSPC);
  CHECK(refused.error().context ==
        "user 1000: 24 sockets in groups; the limit is 24 (members in [quotas] of subsetd.toml)");
  more.cookie = 1;
  CHECK(world.join(more));  // known
}

// One person may have 65,536 users: a quota of each bounds nothing then.
TEST_CASE("all users but root have limits together") {
  Registry registry(7, {.groups = 2, .members = 3, .instances = 10});
  const auto join = [&](Cookie cookie, uint32_t uid, uint32_t total) {
    Claim claim = claim_of(cookie, cookie, 0, total);
    claim.key = key_of(static_cast<uint16_t>(uid));
    claim.key.uid = uid;
    claim.instance = kAnyInstance;
    const auto admission = registry.admit(claim);
    if (admission) registry.commit(claim, *admission, uid);
    return admission ? std::string() : admission.error().context;
  };
  CHECK(join(1, 1001, 4) == "");
  CHECK(join(2, 1002, 7) ==
        "all users: 11 instances in all groups; the limit is 10 (instances in [limits] of "
        "subsetd.toml)");
  CHECK(join(2, 1002, 4) == "");
  CHECK(join(3, 1003, 1) ==
        "all users: 2 groups; the limit is 2 (groups in [limits] of subsetd.toml)");
  CHECK(join(4, 0, 4096) == "");
  CHECK(join(5, 1002, 4) == "");
  CHECK(join(6, 1002, 4) ==
        "all users: 3 sockets in groups; the limit is 3 (members in [limits] of subsetd.toml)");
  CHECK(registry.depart(1001, 1, Time{}));
  CHECK(join(6, 1002, 4) == "");
  registry.forget(1001);
  CHECK(join(7, 1002, 6) ==
        "all users: 3 sockets in groups; the limit is 3 (members in [limits] of subsetd.toml)");
  CHECK(registry.depart(1002, 6, Time{}));
  CHECK(join(3, 1003, 6) == "");
}

TEST_CASE("a group's total counts, whoever comes: maps are sized by it") {
  Registry registry(7,
                    {.groups_per_user = 256, .members_per_user = 8192, .instances_per_user = 5000});
  Claim claim = claim_of(1, 1, 0, 4096);
  CHECK(registry.admit(claim));
  registry.commit(claim, *registry.admit(claim), 1);
  claim = claim_of(2, 2, 0, 1000);
  claim.key = key_of(54);
  CHECK(registry.admit(claim).error().context ==
        "user 1000: 5096 instances in all groups; the limit is 5000 (instances in [quotas] of "
        "subsetd.toml)");
  claim.total = 900;
  CHECK(registry.admit(claim));
}

TEST_CASE("who is a member already asks for no more instances than others") {
  Registry registry(7, {.instances_per_user = 10});
  Claim claim = claim_of(1, 1, 0, 4);
  registry.commit(claim, *registry.admit(claim), 1);
  Claim other = claim_of(2, 2, 1, 4);
  registry.commit(other, *registry.admit(other), 0);
  claim.total = 11;
  const auto refused = registry.admit(claim);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().context ==
        "user 1000: 11 instances in all groups; the limit is 10 (instances in [quotas] of "
        "subsetd.toml)");
  claim.total = 10;
  CHECK(registry.admit(claim));
}

TEST_CASE("a generation whose members outlived the active one is active when it is found") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 2)));
  REQUIRE(world.join(claim_of(2, 2, 0, 3)));
  Group found = world.registry.groups().begin()->second;
  REQUIRE(found.pending_total == 3);
  found.seats[found.members.at(1).slot].cookie = 0;
  found.members.erase(1);
  Registry next(7);
  const Group& kept = next.adopt(std::move(found));
  CHECK(kept.total == 3);
  CHECK(kept.pending_total == 0);
  CHECK(kept.members.at(2).state == MemberState::Active);
}

TEST_CASE("a group has at most 65,534 seats") {
  World world;
  Group group{.serial = 1, .key = key_of(), .id = "udp/127.0.0.1:53"};
  for (uint32_t i = 0; i < 65'534; ++i) {
    group.seats.push_back({.instance = 1, .ordinal = i});
  }
  world.registry.adopt(std::move(group));
  CHECK(world.join(claim_of(1, 1, 0, 1)).error().code == ENOSPC);
}

TEST_CASE("an empty group is remembered until it is forgotten") {
  World world;
  REQUIRE(world.join(claim_of(1, 1, 0, 1)));
  world.registry.forget(1);
  CHECK(world.registry.find(1) != nullptr);
  const Time now{std::chrono::seconds(5)};
  CHECK(world.registry.depart(1, 1, now)->member.cookie == 1);
  CHECK(world.group().empty_since == now);
  CHECK_FALSE(world.registry.depart(1, 1, now));
  CHECK_FALSE(world.registry.depart(2, 1, now));
  CHECK(world.join(claim_of(2, 2, 0, 1))->slot == 0);  // the same seat: its counters go on
  CHECK_FALSE(world.group().empty_since);
  world.registry.depart(1, 2, now);
  world.registry.forget(1);
  CHECK(world.registry.find(1) == nullptr);
  CHECK(world.registry.find(key_of()) == nullptr);
}

TEST_CASE("an adopted group goes on where it was") {
  World before;
  REQUIRE(before.join(claim_of(1, 1, 0, 2)));
  World world;
  world.registry.adopt(before.group());
  CHECK(world.group() == before.group());
  CHECK(world.registry.find(key_of()) == &world.group());
  CHECK(world.join(claim_of(1, 1, 0, 2))->known);
}

}  // namespace
}  // namespace subset
