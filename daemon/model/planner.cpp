// SPDX-License-Identifier: MIT
// Quotas first, then as few moves as they need. A bucket moves only from a party that has more than
// its quota to one that has less; several passes over the row differ in what they prefer, and the
// first preference (back to the former holder) makes every change reversible: the buckets that the
// latest plan moved are exactly those that its reversal moves back.
#include "daemon/model/planner.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace subset {
namespace {

constexpr uint32_t kMinBuckets = 1024;
constexpr uint32_t kMinBucketsPerInstance = 16;
constexpr uint32_t kNone = UINT32_MAX;

// Who can have buckets: a member, or a vacant instance that keeps its share (slot kNoSlot).
struct Party {
  Slot slot = kNoSlot;
  uint32_t instance = 0;
};

// An instance's part of the row. Its parties are `count` neighbours from `first` on.
struct Share {
  uint32_t instance = 0;
  uint32_t weight = 0;
  uint32_t first = 0;
  uint32_t count = 0;
  uint32_t quota = 0;
};

// Everybody and what they share: members in the order of instance and ordinal, so that equal sets
// of members get equal quotas; behind them the vacant instances.
struct Division {
  std::vector<Party> parties;
  std::vector<Share> shares;  // in the order of instances
};

void add_members(Division& division, std::vector<PlanMember> members) {
  std::ranges::sort(members, {}, [](const PlanMember& member) {
    return std::tuple(member.instance, member.ordinal, member.slot);
  });
  for (const PlanMember& member : members) {
    const auto party = static_cast<uint32_t>(division.parties.size());
    if (party == 0 || division.parties.back().instance != member.instance) {
      division.shares.push_back(
          {.instance = member.instance, .weight = member.weight, .first = party});
    }
    ++division.shares.back().count;
    division.parties.push_back({.slot = member.slot, .instance = member.instance});
  }
}

void add_vacant(Division& division, const RowInput& input) {
  std::vector<uint32_t> weights(input.total, kDefaultWeight);
  for (const auto& [instance, weight] : input.vacant_weights) {
    if (instance < input.total) {
      weights[instance] = weight;
    }
  }
  for (const Share& held : division.shares) {
    if (held.instance < input.total) {
      weights[held.instance] = 0;
    }
  }
  for (uint32_t instance = 0; instance < input.total; ++instance) {
    if (weights[instance] > 0) {
      const auto party = static_cast<uint32_t>(division.parties.size());
      division.shares.push_back(
          {.instance = instance, .weight = weights[instance], .first = party, .count = 1});
      division.parties.push_back({.instance = instance});
    }
  }
  std::ranges::sort(division.shares, {}, &Share::instance);
}

// Largest remainder. What all shares together leave over is nobody's: only if all weights are 0.
void set_quotas(std::vector<Share>& shares, uint32_t buckets, uint32_t rotation) {
  struct Remainder {
    uint64_t rest;
    uint64_t turn;  // decides between equal rests
    uint32_t* quota;
  };
  uint64_t weights = 0;
  for (const Share& share : shares) {
    weights += share.weight;
  }
  if (weights == 0) {
    return;
  }
  std::vector<Remainder> remainders;
  uint32_t left = buckets;
  for (Share& share : shares) {
    const uint64_t exact = uint64_t{buckets} * share.weight;
    share.quota = static_cast<uint32_t>(exact / weights);
    left -= share.quota;
    const uint64_t turn = (remainders.size() + uint64_t{rotation}) % shares.size();
    remainders.push_back({exact % weights, turn, &share.quota});
  }
  std::ranges::nth_element(remainders, remainders.begin() + left, [](const auto& a, const auto& b) {
    return a.rest != b.rest ? a.rest > b.rest : a.turn < b.turn;
  });
  for (uint32_t i = 0; i < left; ++i) {
    ++*remainders[i].quota;
  }
}

Division divide(const RowInput& input, uint32_t buckets) {
  Division division;
  add_members(division, input.members);
  if (input.refuse_vacant) {
    add_vacant(division, input);
  }
  set_quotas(division.shares, buckets, input.rotation);
  return division;
}

// The moves from one row to the next. Behind the parties, `nobody` has what is free for all: the
// buckets of members that went, unless their vacant instance keeps them.
class Rebalance {
 public:
  Rebalance(const Row& current, const RowInput& input)
      : row_(current), serial_(input.serial), total_(std::max(input.total, 1u)) {
    Division division = divide(input, static_cast<uint32_t>(row_.size()));
    parties_ = std::move(division.parties);
    nobody_ = static_cast<uint32_t>(parties_.size());
    parties_.push_back({.instance = kAnyInstance});
    index(division.shares);
    find_holders();
    count_lacks(division.shares, input.rotation);
  }

  Row run() {
    list_spare();
    return_to_former();
    hand_out([this](uint32_t bucket) { return home_member(bucket); });
    hand_out([this](uint32_t bucket) { return home_sibling(bucket); });
    hand_out([this](uint32_t bucket) { return at_home(bucket) ? kNone : anybody(); });
    hand_out([this](uint32_t) { return anybody(); });
    for (uint32_t bucket = 0; bucket < row_.size(); ++bucket) {
      settle(row_[bucket], parties_[holder_[bucket]]);
    }
    return std::move(row_);
  }

 private:
  struct Home {
    uint32_t first = 0;
    uint32_t count = 0;  // 0: the instance has no party
    uint32_t next = 0;   // of its parties, the first that may lack buckets still
  };

  void index(const std::vector<Share>& shares) {
    for (uint32_t party = 0; party < nobody_; ++party) {
      const Slot slot = parties_[party].slot;
      if (slot == kNoSlot) {
        continue;
      }
      if (party_of_slot_.size() <= slot) {
        party_of_slot_.resize(slot + 1, nobody_);
      }
      party_of_slot_[slot] = party;
    }
    homes_.resize(total_);
    for (const Share& share : shares) {
      if (share.instance < total_) {
        homes_[share.instance] = {.first = share.first, .count = share.count, .next = share.first};
      }
    }
  }

  uint32_t member_in(Slot slot) const {
    return slot < party_of_slot_.size() ? party_of_slot_[slot] : nobody_;
  }

  uint32_t vacancy_of(uint32_t instance) const {
    const bool kept = instance < total_ && homes_[instance].count > 0 &&
                      parties_[homes_[instance].first].slot == kNoSlot;
    return kept ? homes_[instance].first : nobody_;
  }

  void find_holders() {
    holder_.reserve(row_.size());
    for (const Bucket& bucket : row_) {
      const uint32_t member = member_in(bucket.slot);
      holder_.push_back(member != nobody_ ? member : vacancy_of(bucket.instance));
    }
  }

  // lacks_ = quota - buckets held; negative: may give away.
  void count_lacks(const std::vector<Share>& shares, uint32_t rotation) {
    lacks_.assign(parties_.size(), 0);
    lacks_[nobody_] = static_cast<int64_t>(row_.size());
    for (const Share& share : shares) {
      for (uint32_t i = 0; i < share.count; ++i) {
        const uint64_t turn = (i + uint64_t{rotation}) % share.count;
        lacks_[share.first + i] = share.quota / share.count + (turn < share.quota % share.count);
      }
      lacks_[nobody_] -= share.quota;
    }
    for (const uint32_t holder : holder_) {
      --lacks_[holder];
    }
    for (const int64_t lack : lacks_) {
      missing_ += std::max<int64_t>(lack, 0);
    }
  }

  bool lacks(uint32_t party) const { return lacks_[party] > 0; }
  bool spare(uint32_t bucket) const { return lacks_[holder_[bucket]] < 0; }
  bool wanted_back(uint32_t bucket) const {
    const uint32_t former = member_in(row_[bucket].former);
    return former != nobody_ && lacks(former) && spare(bucket);
  }

  // No bucket becomes spare later: who lacks is given no more than that, and then has its quota.
  void list_spare() {
    spare_.reserve(row_.size());
    for (uint32_t bucket = 0; bucket < row_.size() && missing_ > 0; ++bucket) {
      if (spare(bucket)) {
        spare_.push_back(bucket);
      }
    }
  }

  // Latest move first: it is the one that is most likely being undone.
  void return_to_former() {
    std::vector<uint64_t> order;
    for (const uint32_t bucket : spare_) {
      if (wanted_back(bucket)) {
        order.push_back(uint64_t{~row_[bucket].moved} << 32 | bucket);
      }
    }
    std::ranges::sort(order);
    for (const uint64_t key : order) {
      const auto bucket = static_cast<uint32_t>(key);
      if (wanted_back(bucket)) {
        give(bucket, member_in(row_[bucket].former));
      }
    }
  }

  // One pass: whom, if anybody, should each bucket that may go be given to?
  template <typename Taker>
  void hand_out(Taker taker) {
    for (const uint32_t bucket : spare_) {
      if (missing_ == 0) {
        return;
      }
      if (!spare(bucket)) {
        continue;
      }
      const uint32_t party = taker(bucket);
      if (party != kNone && lacks(party)) {
        give(bucket, party);
      }
    }
  }

  uint32_t home_member(uint32_t bucket) const {
    const Home& home = homes_[bucket % total_];
    return home.count > 0 ? home.first + bucket / total_ % home.count : kNone;
  }

  uint32_t home_sibling(uint32_t bucket) {
    Home& home = homes_[bucket % total_];
    while (home.next < home.first + home.count && !lacks(home.next)) {
      ++home.next;
    }
    return home.next < home.first + home.count ? home.next : kNone;
  }

  bool at_home(uint32_t bucket) const {
    const Home& home = homes_[bucket % total_];
    return holder_[bucket] - home.first < home.count;
  }

  // Only while something is missing. In turn, so that everybody holds as much of one home as the
  // others: who returns can then take all of its home back from what each has to give.
  uint32_t anybody() {
    if (!lacking_) {
      lacking_.emplace();
      for (uint32_t party = 0; party < parties_.size(); ++party)
        if (lacks(party)) lacking_->push_back(party);
    }
    for (;;) {
      if (turn_ >= lacking_->size()) turn_ = 0;
      const uint32_t party = (*lacking_)[turn_];
      if (lacks(party)) {
        ++turn_;
        return party;
      }
      lacking_->erase(lacking_->begin() + turn_);
    }
  }

  void give(uint32_t bucket, uint32_t party) {
    ++lacks_[holder_[bucket]];
    --lacks_[party];
    --missing_;
    holder_[bucket] = party;
  }

  // That nobody had a bucket is not worth remembering; who had it before that is.
  void settle(Bucket& bucket, const Party& holder) const {
    bucket.instance = holder.instance;
    if (bucket.slot == holder.slot) {
      return;
    }
    if (bucket.slot != kNoSlot) {
      bucket.former = bucket.slot;
    }
    bucket.slot = holder.slot;
    bucket.moved = serial_;
  }

  Row row_;  // as it was, until everything is decided
  uint32_t serial_;
  uint32_t total_;
  std::vector<Party> parties_;
  uint32_t nobody_ = 0;  // the last of them
  std::vector<uint32_t> party_of_slot_;
  std::vector<Home> homes_;                       // by instance
  std::vector<uint32_t> holder_;                  // by bucket
  std::vector<int64_t> lacks_;                    // by party
  std::vector<uint32_t> spare_;                   // buckets that may have had to go
  int64_t missing_ = 0;                           // sum of what parties lack
  std::optional<std::vector<uint32_t>> lacking_;  // parties that wait for anybody's buckets
  size_t turn_ = 0;                               // of these
};

}  // namespace

uint32_t bucket_count(uint32_t total) {
  const uint32_t instances = std::max(total, 1u);
  const uint32_t each = std::max(kMinBucketsPerInstance, (kMinBuckets + instances - 1) / instances);
  return instances * each;
}

Row plan_row(const Row& current, const RowInput& input) {
  return Rebalance(current, input).run();
}

}  // namespace subset
