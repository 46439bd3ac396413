// SPDX-License-Identifier: MIT
#include "daemon/model/types.h"

#include <algorithm>

#include <doctest/doctest.h>

namespace subset {
namespace {

constexpr uint32_t kOwnInode = 4026531833;

GroupKey inet_key(Protocol protocol, std::array<uint8_t, 4> address, uint16_t port) {
  GroupKey key{.netns_inode = kOwnInode, .protocol = protocol, .port = port};
  std::copy(address.begin(), address.end(), key.address.begin());
  return key;
}

GroupKey inet6_key(uint8_t last_byte) {
  GroupKey key{.netns_inode = kOwnInode, .family = Family::Inet6, .port = 53};
  key.address[15] = last_byte;
  return key;
}

CpuSet cpus(std::initializer_list<uint32_t> list) {
  CpuSet set;
  for (const uint32_t cpu : list) {
    set.add(cpu);
  }
  return set;
}

TEST_CASE("addresses have no brackets") {
  CHECK(address_text(inet_key(Protocol::Udp, {127, 0, 0, 1}, 53)) == "127.0.0.1");
  CHECK(address_text(inet6_key(1)) == "::1");
  CHECK(address_text(inet6_key(0)) == "::");
}

TEST_CASE("a group's id names protocol, address and port") {
  CHECK(group_id(inet_key(Protocol::Udp, {127, 0, 0, 1}, 5353), kOwnInode) == "udp/127.0.0.1:5353");
  CHECK(group_id(inet_key(Protocol::Tcp, {0, 0, 0, 0}, 80), kOwnInode) == "tcp/0.0.0.0:80");
  CHECK(group_id(inet6_key(1), kOwnInode) == "udp/[::1]:53");
}

TEST_CASE("a group of another network namespace says which") {
  CHECK(group_id(inet6_key(1), kOwnInode + 1) == "udp/[::1]:53@4026531833");
}

TEST_CASE("protocols and states have names") {
  CHECK(std::string(name_of(Protocol::Tcp)) == "tcp");
  CHECK(std::string(name_of(Protocol::Udp)) == "udp");
  CHECK(std::string(name_of(MemberState::Active)) == "active");
  CHECK(std::string(name_of(MemberState::Pending)) == "pending");
  CHECK(std::string(name_of(MemberState::Draining)) == "draining");
  CHECK(std::string(name_of(MemberState::Held)) == "held");
}

TEST_CASE("a set of CPUs is written as the kernel writes it") {
  CHECK(CpuSet().cpulist().empty());
  CHECK(cpus({4, 0, 1}).cpulist() == "0-1,4");
  CHECK(cpus({7}).cpulist() == "7");
  CHECK(cpus({62, 63, 64, 65, 128}).cpulist() == "62-65,128");
}

TEST_CASE("a set of CPUs is a set") {
  const CpuSet set = cpus({130, 3, 3, 64});
  CHECK(set.count() == 3);
  CHECK(set.list() == std::vector<uint32_t>{3, 64, 130});
  CHECK(set.contains(64));
  CHECK_FALSE(set.contains(65));
  CHECK_FALSE(set.contains(100'000));
  CHECK_FALSE(set.empty());
  CHECK(CpuSet().empty());
  CHECK(set == cpus({3, 64, 130}));
  CHECK_FALSE(set == cpus({3, 64}));
}

TEST_CASE("a CPU that no machine has is not added, so that no message makes a set large") {
  CHECK(cpus({CpuSet::kLimit, UINT32_MAX}).empty());
  CHECK(cpus({CpuSet::kLimit - 1}).count() == 1);
}

}  // namespace
}  // namespace subset
