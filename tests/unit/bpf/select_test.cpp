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

TEST_CASE("the same, as a mask") {
  CHECK(subset_same(7, 7) == ~0ull);
  CHECK(subset_same(0, 0) == ~0ull);
  CHECK(subset_same(7, 8) == 0);
  CHECK(subset_same(0, 0xffff) == 0);
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

TEST_CASE("wrap is addition modulo n") {
  for (int i = 0; i < kTries; i++) {
    const uint32_t n = 1 + draw(1 << 30);
    const uint32_t start = draw(n);
    const uint32_t step = draw(n);
    REQUIRE(subset_wrap(start, step, n) == (uint64_t{start} + step) % n);
  }
}

TEST_CASE("a walk with wrap meets each of n once, wherever it starts") {
  for (uint32_t n : {1u, 2u, 5u, 64u}) {
    for (uint32_t start = 0; start < n; start++) {
      std::set<uint32_t> met;
      for (uint32_t step = 0; step < n; step++) met.insert(subset_wrap(start, step, n));
      CHECK(met.size() == n);
      CHECK(*met.rbegin() == n - 1);
    }
  }
}

TEST_CASE("less_loaded compares quotients exactly, and says so with all bits or none") {
  constexpr uint64_t kAll = ~uint64_t{0};
  for (int i = 0; i < kTries; i++) {
    const uint64_t open_a = draw(i % 2 ? 100 : kAllHashes);
    const uint64_t open_b = draw(i % 2 ? 100 : kAllHashes);
    const uint32_t weight_a = 1 + draw(1000);
    const uint32_t weight_b = 1 + draw(1000);
    const bool less = open_a * weight_b < open_b * weight_a;
    REQUIRE(subset_less_loaded(open_a, weight_a, open_b, weight_b) == (less ? kAll : 0));
    REQUIRE(subset_less_loaded(open_a, weight_a, open_a, weight_a) == 0);
  }
}

// What least mode starts its comparison with.
TEST_CASE("any member has less than 1/0") {
  CHECK(subset_less_loaded(0, 1, 1, 0) != 0);
  CHECK(subset_less_loaded(kAllHashes, 1000, 1, 0) != 0);
}

TEST_CASE("choose") {
  CHECK(subset_choose(~uint64_t{0}, 3, 5) == 3);
  CHECK(subset_choose(0, 3, 5) == 5);
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
