// SPDX-License-Identifier: MIT
// The planner's four promises, stated as properties of random histories.
#include "daemon/model/planner.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include <doctest/doctest.h>

#include "tests/unit/histories.h"

namespace subset {
namespace {

constexpr int kHistories = test::histories(10'000);
constexpr int kSteps = 8;  // of one history

using Slots = std::vector<Slot>;
using Counts = std::map<Slot, int64_t>;  // buckets by slot, kNoSlot for nobody's

Slots slots_of(const Row& row) {
  Slots slots(row.size());
  std::ranges::transform(row, slots.begin(), &Bucket::slot);
  return slots;
}

Counts counts_of(const Row& row) {
  Counts counts;
  for (const Bucket& bucket : row) {
    ++counts[bucket.slot];
  }
  return counts;
}

// What a share of `parts` comes to by largest remainder: the plain textbook form of it.
std::vector<int64_t> largest_remainder(const std::vector<int64_t>& weights, int64_t whole,
                                       uint32_t rotation) {
  const int64_t sum = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  std::vector<int64_t> parts(weights.size(), 0);
  if (sum == 0) {
    return parts;
  }
  std::multimap<std::pair<int64_t, size_t>, size_t> by_remainder;  // largest, then turn
  for (size_t i = 0; i < weights.size(); ++i) {
    parts[i] = whole * weights[i] / sum;
    by_remainder.emplace(std::pair(-(whole * weights[i] % sum), (i + rotation) % weights.size()),
                         i);
  }
  int64_t left = whole - std::accumulate(parts.begin(), parts.end(), int64_t{0});
  for (auto it = by_remainder.begin(); left > 0; ++it, --left) {
    ++parts[it->second];
  }
  return parts;
}

// The buckets that each slot must have.
Counts quotas_of(const RowInput& input, size_t buckets) {
  std::map<uint32_t, std::map<std::pair<uint32_t, Slot>, Slot>> members;  // instance -> its members
  std::map<uint32_t, int64_t> weights;
  if (input.refuse_vacant) {
    for (uint32_t instance = 0; instance < input.total; ++instance) {
      weights[instance] = kDefaultWeight;
    }
    for (const auto& [instance, weight] : input.vacant_weights) {
      weights[instance] = weight;
    }
  }
  for (const PlanMember& member : input.members) {
    members[member.instance][{member.ordinal, member.slot}] = member.slot;
    weights[member.instance] = member.weight;
  }
  std::erase_if(weights, [&](const auto& entry) {
    return entry.second == 0 && !members.contains(entry.first);
  });
  std::vector<int64_t> list;
  std::ranges::transform(weights, std::back_inserter(list), [](const auto& w) { return w.second; });
  const std::vector<int64_t> shares =
      largest_remainder(list, static_cast<int64_t>(buckets), input.rotation);

  Counts quotas;
  int64_t left = static_cast<int64_t>(buckets);
  size_t index = 0;
  for (const auto& [instance, weight] : weights) {
    const auto& held = members[instance];
    const std::vector<int64_t> even(held.size(), 1);
    const std::vector<int64_t> parts = largest_remainder(even, shares[index++], input.rotation);
    size_t part = 0;
    for (const auto& [name, slot] : held) {
      quotas[slot] = parts[part];
      left -= parts[part++];
    }
  }
  quotas[kNoSlot] = left;
  return quotas;
}

bool is_exact(const Row& row, const RowInput& input) {
  Counts quotas = quotas_of(input, row.size());
  Counts counts = counts_of(row);
  std::erase_if(quotas, [](const auto& entry) { return entry.second == 0; });
  return counts == quotas;
}

// Living members lose what they have above their quota and not a bucket more; none of the departed
// keeps any (exactness), and nobody's buckets are no loss to anybody.
bool is_minimal(const Row& before, const Row& after, const RowInput& input) {
  const Counts quotas = quotas_of(input, before.size());
  const Counts counts = counts_of(before);
  int64_t surplus = 0;
  for (const auto& [slot, count] : counts) {
    if (slot != kNoSlot && quotas.contains(slot)) {
      surplus += std::max<int64_t>(count - quotas.at(slot), 0);
    }
  }
  int64_t lost = 0;
  for (size_t b = 0; b < before.size(); ++b) {
    const Slot slot = before[b].slot;
    lost += slot != kNoSlot && quotas.contains(slot) && after[b].slot != slot;
  }
  return lost == surplus;
}

// Every bucket remembers whom it left, and only moved buckets say that they moved.
bool remembers(const Row& before, const Row& after, uint32_t serial) {
  for (size_t b = 0; b < before.size(); ++b) {
    Bucket expected = before[b];
    expected.instance = after[b].instance;
    if (before[b].slot != after[b].slot) {
      expected.former = before[b].slot != kNoSlot ? before[b].slot : before[b].former;
      expected.slot = after[b].slot;
      expected.moved = serial;
    }
    if (!(expected == after[b])) {
      return false;
    }
  }
  return true;
}

// One group's row under random changes.
class History {
 public:
  explicit History(uint32_t seed) : random_(seed) {
    input_.total = 1 + pick(12);
    input_.rotation = pick(4);
    input_.refuse_vacant = pick(3) == 0;
    input_.serial = 0;
    row_.resize(pick(10) == 0 ? bucket_count(input_.total) : 1 + pick(200));
    for (uint32_t instance = 0; instance < input_.total; ++instance) {
      weights_.push_back(pick(2) == 0 ? kDefaultWeight : 1 + pick(kMaxWeight));
    }
    for (uint32_t i = pick(20); i > 0; --i) {
      join();
    }
    plan();
  }

  void change() {
    switch (pick(6)) {
      case 0:
      case 1:
        join();
        break;
      case 2:
      case 3:
        leave();
        break;
      case 4:
        weights_[pick(input_.total)] = 1 + pick(kMaxWeight);
        break;
      default:  // a deployment: several things at once
        join();
        join();
        leave();
        leave();
        leave();
        break;
    }
  }

  // The properties of every single plan.
  void plan() {
    set_weights();
    ++input_.serial;
    const Row next = plan_row(row_, input_);
    CHECK(is_exact(next, input_));
    CHECK(is_minimal(row_, next, input_));
    CHECK(remembers(row_, next, input_.serial));
    std::ranges::shuffle(input_.members, random_);
    CHECK(plan_row(row_, input_) == next);
    row_ = next;
  }

  void lose_and_regain() {
    if (input_.members.empty()) {
      return;
    }
    const Slots before = slots_of(row_);
    const PlanMember lost = leave();
    plan();
    input_.members.push_back(lost);
    plan();
    CHECK(slots_of(row_) == before);
  }

  void gain_and_lose() {
    const Slots before = slots_of(row_);
    const Slot gained = join();
    plan();
    std::erase_if(input_.members, [&](const PlanMember& m) { return m.slot == gained; });
    plan();
    CHECK(slots_of(row_) == before);
  }

  void plan_again() {
    const Row before = row_;
    plan();
    CHECK(row_ == before);
  }

  uint32_t pick(uint32_t below) { return random_() % below; }

 private:
  // The lowest vacant seat of an instance: ordinals and slots come back, as in the registry.
  Slot join() {
    const uint32_t instance = pick(input_.total);
    for (uint32_t ordinal = 0;; ++ordinal) {
      const auto slot = static_cast<Slot>(ordinal * input_.total + instance);
      if (std::ranges::find(input_.members, slot, &PlanMember::slot) == input_.members.end()) {
        input_.members.push_back({.slot = slot, .instance = instance, .ordinal = ordinal});
        return slot;
      }
    }
  }

  PlanMember leave() {
    if (input_.members.empty()) {
      return {};
    }
    std::swap(input_.members[pick(input_.members.size())], input_.members.back());
    const PlanMember lost = input_.members.back();
    input_.members.pop_back();
    return lost;
  }

  void set_weights() {
    for (PlanMember& member : input_.members) {
      member.weight = weights_[member.instance];
    }
    input_.vacant_weights.clear();
    for (uint32_t instance = 0; instance < input_.total; ++instance) {
      input_.vacant_weights.emplace_back(instance, weights_[instance]);
    }
  }

  std::mt19937 random_;
  RowInput input_;
  std::vector<uint32_t> weights_;  // by instance
  Row row_;
};

// Instances 0..total-1 with `each` members, slot by slot.
RowInput full(uint32_t total, uint32_t each) {
  RowInput input{.total = total};
  for (uint32_t i = 0; i < total * each; ++i) {
    input.members.push_back(
        {.slot = static_cast<Slot>(i), .instance = i % total, .ordinal = i / total});
  }
  return input;
}

Row fresh(uint32_t buckets) {
  return Row(buckets);
}

TEST_CASE("random histories keep the planner's promises") {
  for (uint32_t seed = 0; seed < kHistories; ++seed) {
    CAPTURE(seed);
    History history(seed);
    for (int step = 0; step < kSteps; ++step) {
      switch (history.pick(4)) {
        case 0:
          history.lose_and_regain();
          break;
        case 1:
          history.gain_and_lose();
          break;
        case 2:
          history.plan_again();
          break;
        default:
          history.change();
          history.plan();
          break;
      }
    }
  }
}

TEST_CASE("a fresh full row has every bucket at home") {
  for (const uint32_t each : {1u, 2u, 3u, 7u}) {
    for (const uint32_t total : {1u, 2u, 3u, 8u, 13u, 100u}) {
      for (const uint32_t rotation : {0u, 1u, 5u}) {
        CAPTURE(each);
        CAPTURE(total);
        CAPTURE(rotation);
        RowInput input = full(total, each);
        input.rotation = rotation;
        const Row row = plan_row(fresh(bucket_count(total)), input);
        bool home = true;
        for (uint32_t b = 0; b < row.size(); ++b) {
          home &= input.members[row[b].slot].instance == b % total;
        }
        CHECK(home);
      }
    }
  }
}

TEST_CASE("within an instance the members take turns") {
  const RowInput input = full(4, 2);
  const Row row = plan_row(fresh(1024), input);
  for (uint32_t b = 0; b < row.size(); ++b) {
    CHECK(row[b].slot == b % 4 + b / 4 % 2 * 4);
  }
}

TEST_CASE("two members lost one after the other and regained the last first are home again") {
  RowInput input = full(8, 1);
  Row row = plan_row(fresh(1024), input);
  const Slots before = slots_of(row);
  for (const size_t members : {7, 6, 7, 8}) {
    input.members = full(8, 1).members;
    input.members.resize(members);
    ++input.serial;
    row = plan_row(row, input);
  }
  CHECK(slots_of(row) == before);
}

TEST_CASE("all members lost and regained one by one find their buckets again") {
  RowInput input = full(5, 2);
  Row row = plan_row(fresh(bucket_count(5)), input);
  const Slots before = slots_of(row);
  const std::vector<PlanMember> all = std::exchange(input.members, {});
  ++input.serial;
  row = plan_row(row, input);
  CHECK(counts_of(row) == Counts{{kNoSlot, bucket_count(5)}});
  for (const PlanMember& member : all) {
    input.members.push_back(member);
    ++input.serial;
    row = plan_row(row, input);
  }
  CHECK(slots_of(row) == before);
}

TEST_CASE("refuse leaves the share of a vacant instance with nobody, and touches no other") {
  RowInput input = full(4, 1);
  input.refuse_vacant = true;
  const Row before = plan_row(fresh(1024), input);
  input.members.erase(input.members.begin() + 2);
  ++input.serial;
  const Row row = plan_row(before, input);
  for (size_t b = 0; b < row.size(); ++b) {
    CHECK(row[b].slot == (before[b].slot == 2 ? kNoSlot : before[b].slot));
  }
}

TEST_CASE("refuse keeps each vacant instance's share apart") {
  RowInput input = full(4, 1);
  input.refuse_vacant = true;
  const Row before = plan_row(fresh(1024), input);
  const std::vector<PlanMember> all = input.members;
  input.members = {all[0], all[1], all[3]};
  ++input.serial;
  Row row = plan_row(before, input);
  // 2 comes back and 3 goes in one plan: what was 3's must not become 2's.
  input.members = {all[0], all[1], all[2]};
  ++input.serial;
  row = plan_row(row, input);
  for (size_t b = 0; b < row.size(); ++b) {
    CHECK(row[b].slot == (before[b].slot == 3 ? kNoSlot : before[b].slot));
    CHECK(row[b].instance == b % 4);
  }
}

TEST_CASE("refuse: an instance that returns with other sockets gets its own buckets") {
  RowInput input = full(3, 1);
  input.refuse_vacant = true;
  input.members.pop_back();
  Row row = plan_row(fresh(bucket_count(3)), input);
  ++input.serial;
  input.members.push_back({.slot = 7, .instance = 2, .ordinal = 4});
  row = plan_row(row, input);
  CHECK(counts_of(row) == Counts{{0, 342}, {1, 342}, {7, 342}});
  CHECK(row[2].slot == 7);
}

TEST_CASE("refuse keeps the weight of a vacant instance") {
  RowInput input{.total = 2,
                 .members = {{.slot = 0, .instance = 0, .weight = 100}},
                 .refuse_vacant = true,
                 .vacant_weights = {{1, 300}}};
  CHECK(counts_of(plan_row(fresh(1024), input)) == Counts{{0, 256}, {kNoSlot, 768}});
}

TEST_CASE("weights decide the shares") {
  const RowInput input{.total = 2,
                       .members = {{.slot = 5, .instance = 0, .weight = 1},
                                   {.slot = 6, .instance = 1, .weight = 3}}};
  CHECK(counts_of(plan_row(fresh(1024), input)) == Counts{{5, 256}, {6, 768}});
}

TEST_CASE("rotation changes who wins a tie") {
  std::set<Counts> outcomes;
  for (uint32_t rotation = 0; rotation < 3; ++rotation) {
    RowInput input = full(3, 1);
    input.rotation = rotation;
    outcomes.insert(counts_of(plan_row(fresh(4), input)));
  }
  CHECK(outcomes.size() == 3);
}

TEST_CASE("degenerate inputs") {
  CHECK(plan_row({}, full(3, 1)).empty());
  CHECK(counts_of(plan_row(fresh(7), {})) == Counts{{kNoSlot, 7}});
  CHECK(plan_row(fresh(7), {}) == fresh(7));

  SUBCASE("no instance at all") {
    const RowInput input{.total = 0, .members = {{.slot = 1}}};
    CHECK(counts_of(plan_row(fresh(7), input)) == Counts{{1, 7}});
  }
  SUBCASE("more members than buckets") {
    CHECK(is_exact(plan_row(fresh(5), full(8, 2)), full(8, 2)));
  }
  SUBCASE("weight 0 has no share") {
    RowInput input = full(2, 1);
    input.members[0].weight = 0;
    CHECK(counts_of(plan_row(fresh(8), input)) == Counts{{1, 8}});
    input.members[1].weight = 0;
    CHECK(counts_of(plan_row(fresh(8), input)) == Counts{{kNoSlot, 8}});
  }
  SUBCASE("an instance beyond the total takes part by its weight") {
    RowInput input = full(2, 1);
    input.members.push_back({.slot = 9, .instance = 7, .weight = 200});
    for (const bool refuse : {false, true}) {
      input.refuse_vacant = refuse;
      CHECK(counts_of(plan_row(fresh(8), input)) == Counts{{0, 2}, {1, 2}, {9, 4}});
    }
  }
  SUBCASE("a weight for an instance beyond the total is ignored") {
    RowInput input = full(2, 1);
    input.refuse_vacant = true;
    input.vacant_weights = {{2, 100}, {UINT32_MAX, 100}};
    CHECK(counts_of(plan_row(fresh(8), input)) == Counts{{0, 4}, {1, 4}});
  }
  SUBCASE("slots that contradict the contract do not crash it") {
    RowInput input = full(2, 1);
    input.members[1].slot = input.members[0].slot;
    CHECK(plan_row(plan_row(fresh(8), input), input).size() == 8);
    input.members[1].slot = kNoSlot;
    CHECK(plan_row(plan_row(fresh(8), input), input).size() == 8);
  }
}

TEST_CASE("a row has a multiple of the total, 1024 at least, and 16 for each instance") {
  CHECK(bucket_count(0) == 1024);
  CHECK(bucket_count(1) == 1024);
  CHECK(bucket_count(8) == 1024);
  CHECK(bucket_count(kMaxTotal) == 65'536);
  for (uint32_t total = 1; total <= kMaxTotal; ++total) {
    const uint32_t buckets = bucket_count(total);
    CHECK((buckets % total == 0 && buckets >= 1024 && buckets >= 16 * total));
    CHECK((buckets < 1024 + total || buckets == 16 * total));
  }
}

// Not an assertion: machines differ. The design asks for less than 10 ms.
void print_time(const std::string& what, uint32_t rows, uint32_t buckets, RowInput input) {
  Row row = plan_row(fresh(buckets), input);
  const auto timed = [&](const std::string& step) {
    ++input.serial;
    const auto begin = std::chrono::steady_clock::now();
    Row next;
    for (uint32_t i = 0; i < rows; ++i) {
      next = plan_row(row, input);
    }
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - begin;
    MESSAGE(what << ", " << step << ": " << spent.count() << " ms");
    row = next;
  };
  timed("nothing changed");
  const PlanMember lost = input.members.back();
  input.members.pop_back();
  timed("one lost");
  input.members.push_back(lost);
  timed("one regained");
  const size_t half = input.members.size() / 2;
  const std::vector<PlanMember> gone(input.members.begin() + half, input.members.end());
  input.members.resize(half);
  timed("half of them lost");
  input.members.insert(input.members.end(), gone.begin(), gone.end());
  timed("half of them regained");
}

TEST_CASE("time") {
  print_time("65,536 buckets, 4,096 members", 1, bucket_count(4096), full(4096, 1));
  print_time("128 rows of 1,024 buckets, 32 members", 128, 1024, full(32, 1));
}

}  // namespace
}  // namespace subset
