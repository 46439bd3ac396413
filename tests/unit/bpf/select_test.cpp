// SPDX-License-Identifier: MIT
// The selection's arithmetic, compiled for the host: what the verifier cannot see.
#include "bpf/select.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include <doctest/doctest.h>

namespace {

constexpr int kTries = 100'000;
constexpr uint32_t kAllHashes = std::numeric_limits<uint32_t>::max();

std::mt19937& random_bits() {
  static std::mt19937 generator{1};
  return generator;
}

uint32_t draw(uint32_t below) {
  return std::uniform_int_distribution<uint32_t>(0, below - 1)(random_bits());
}

TEST_CASE("scale stays below n, keeps the order of hashes and uses all of the range") {
  for (int i = 0; i < kTries; i++) {
    const uint32_t n = 1 + draw(1 << 16);
    const uint32_t hash = random_bits()();
    const uint32_t scaled = subset_scale(hash, n);
    REQUIRE(scaled < n);
    REQUIRE(subset_scale(hash | 1, n) >= scaled);
    REQUIRE(subset_scale(0, n) == 0);
    REQUIRE(subset_scale(kAllHashes, n) == n - 1);
  }
  CHECK(subset_scale(kAllHashes, 0) == 0);
}

TEST_CASE("scale gives each of n the same part of all hashes") {
  for (uint32_t n : {1u, 2u, 3u, 7u, 1024u, 65536u}) {
    CAPTURE(n);
    const uint64_t part = (uint64_t{1} << 32) / n;
    for (uint32_t i = 0; i < n; i++) {
      // The first hash that is scaled to i, and the first beyond.
      const uint64_t first = ((uint64_t{i} << 32) + n - 1) / n;
      const uint64_t beyond = ((uint64_t{i + 1} << 32) + n - 1) / n;
      REQUIRE(subset_scale(static_cast<uint32_t>(first), n) == i);
      REQUIRE(subset_scale(static_cast<uint32_t>(beyond - 1), n) == i);
      REQUIRE(beyond - first >= part);
      REQUIRE(beyond - first <= part + 1);
    }
  }
}

// A bijection loses nothing; here, on all that differ in 16 bits, at either end.
TEST_CASE("mix keeps different words different") {
  for (int shift : {0, 16}) {
    std::set<uint32_t> seen;
    for (uint32_t word = 0; word < 65536; word++) seen.insert(subset_mix(word << shift));
    CHECK(seen.size() == 65536);
  }
}

TEST_CASE("mix: each bit of a word changes each bit of the result every other time") {
  constexpr int kWords = 4000;
  for (int in = 0; in < 32; in++) {
    std::array<int, 32> changed{};
    for (int i = 0; i < kWords; i++) {
      const uint32_t word = random_bits()();
      const uint32_t difference = subset_mix(word) ^ subset_mix(word ^ (1u << in));
      for (int out = 0; out < 32; out++) changed[out] += (difference >> out) & 1;
    }
    for (int out = 0; out < 32; out++) {
      CAPTURE(in);
      CAPTURE(out);
      CHECK(std::abs(changed[out] - kWords / 2) < 200);  // six standard deviations
    }
  }
}

// Neighbours in a network are the usual clients: they must not land on one member.
TEST_CASE("the addresses of a /24 are spread over the buckets") {
  constexpr uint32_t kMembers = 8;
  for (uint32_t seed : {0u, 1u, 0xdeadbeefu}) {
    CAPTURE(seed);
    std::array<int, kMembers> clients{};
    for (uint32_t host = 0; host < 256; host++) {
      const uint32_t network_order = 0x0000000au | host << 24;  // 10.0.0.host
      clients[subset_scale(subset_hash_words(&network_order, 1, seed), kMembers)]++;
    }
    for (int count : clients) {
      CHECK(count > 32 - 27);  // five standard deviations
      CHECK(count < 32 + 27);
    }
  }
}

TEST_CASE("the hash of an address depends on each of its words, their order, and the seed") {
  const std::array<uint32_t, 4> address{0x20010db8, 0, 0, 1};
  const uint32_t hash = subset_hash_words(address.data(), 4, 7);
  CHECK(subset_hash_words(address.data(), 4, 7) == hash);
  CHECK(subset_hash_words(address.data(), 4, 8) != hash);
  for (size_t word = 0; word < 4; word++) {
    auto other = address;
    other[word] ^= 1;
    CHECK(subset_hash_words(other.data(), 4, 7) != hash);
  }
  const std::array<uint32_t, 4> turned{1, 0, 0, 0x20010db8};
  CHECK(subset_hash_words(turned.data(), 4, 7) != hash);
}

// Exactly where weights are equal, or counts are small; otherwise to what a cost is rounded by.
TEST_CASE("a burden is open connections for a weight") {
  for (int i = 0; i < kTries; i++) {
    const bool small = i % 2;
    const uint64_t open_a = draw(small ? 50 : 1 << 30);
    const uint64_t open_b = draw(small ? 50 : 1 << 30);
    const uint32_t weight_a = 1 + draw(1000);
    const uint32_t weight_b = i % 3 ? 1 + draw(1000) : weight_a;
    const double a = static_cast<double>(open_a) / weight_a;
    const double b = static_cast<double>(open_b) / weight_b;
    const double slack = small || weight_a == weight_b ? 0 : b * 2e-5;
    const uint64_t burden_a = subset_burden(open_a, subset_cost(weight_a), draw(SUBSET_SCAN));
    const uint64_t burden_b = subset_burden(open_b, subset_cost(weight_b), draw(SUBSET_SCAN));
    if (a < b - slack) REQUIRE(burden_a < burden_b);
    if (a > b + slack) REQUIRE(burden_a > burden_b);
    REQUIRE(burden_a < SUBSET_NO_BURDEN);
  }
}

// A counter that is below zero for a moment belongs to somebody who has nothing to do.
TEST_CASE("a negative count is less than none") {
  const uint64_t below = subset_burden(~uint64_t{0}, subset_cost(1000), 63);
  CHECK(subset_min(below, subset_burden(0, subset_cost(1), 0)) == below);
  CHECK(static_cast<int64_t>(below) < static_cast<int64_t>(SUBSET_NO_BURDEN));
}

TEST_CASE("the smaller of two burdens") {
  for (int i = 0; i < kTries; i++) {
    const uint64_t a = subset_burden(draw(1 << 30), subset_cost(1 + draw(1000)), draw(SUBSET_SCAN));
    const uint64_t b = subset_burden(draw(1 << 30), subset_cost(1 + draw(1000)), draw(SUBSET_SCAN));
    REQUIRE(subset_min(a, b) == std::min(a, b));
  }
}

// The places of up to SUBSET_SCAN members begin at `start` and go around; who is listed once more
// behind the last is never the first.
TEST_CASE("a place names its member, and those before the start come last") {
  for (uint32_t count = 1; count <= SUBSET_SCAN; count++) {
    for (uint32_t start = 0; start < count; start++) {
      std::vector<uint32_t> order(count);
      for (uint32_t i = 0; i < count; i++) order[i] = i;
      std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return subset_place(a, start) < subset_place(b, start);
      });
      for (uint32_t i = 0; i < count; i++) {
        REQUIRE(order[i] == (start + i) % count);
        const uint64_t burden = subset_burden(draw(1000), subset_cost(7), subset_place(i, start));
        REQUIRE(subset_at_place(burden, start) == i);
      }
    }
  }
  CHECK(SUBSET_SCAN % SUBSET_STEP == 0);
}

TEST_CASE("a copy of the table is a run of its domains' rows") {
  std::set<uint32_t> rows;
  for (uint32_t copy : {0u, 1u}) {
    for (uint32_t domain = 0; domain < 128; domain++)
      rows.insert(subset_row_index(copy, 128, domain));
  }
  CHECK(rows.size() == 256);
  CHECK(*rows.rbegin() == 255);
}

}  // namespace
