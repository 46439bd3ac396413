// SPDX-License-Identifier: MIT
// The nouns of the model (DESIGN section 2), free of system calls and of libbpf.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/policy.h"

namespace subset {

using Slot = uint16_t;  // index in the group's REUSEPORT_SOCKARRAY
inline constexpr Slot kNoSlot = 0xffff;

using Cookie = uint64_t;       // SO_COOKIE: one socket, whatever its descriptor numbers
using LineageId = uint64_t;    // one run of a server: a process and what it forks
using GroupSerial = uint64_t;  // names a group in pins and tags; never reused, never 0
using Time = std::chrono::system_clock::time_point;

enum class Protocol : uint8_t { Tcp = 6, Udp = 17 };   // IPPROTO_*
enum class Family : uint8_t { Inet = 2, Inet6 = 10 };  // AF_*
enum class MemberState : uint8_t { Active, Pending, Draining, Held };

const char* name_of(Protocol protocol);
const char* name_of(MemberState state);

// The kernel's own key of a reuseport group (inet_rcv_saddr_equal and reuseport_add_sock's
// callers), with the network namespace: state keyed without it would mix strangers.
struct GroupKey {
  uint64_t netns_cookie = 0;  // unique for ever
  uint32_t netns_inode = 0;   // what people see
  Family family = Family::Inet;
  Protocol protocol = Protocol::Udp;
  uint16_t port = 0;
  std::array<uint8_t, 16> address{};  // network order; IPv4 in the first four bytes
  bool v6only = false;
  uint32_t device = 0;  // interface index of SO_BINDTODEVICE, 0 for none
  uint32_t uid = 0;     // owner of the sockets

  // The check sees a null pointer in the 0 that the compiler compares with.
  auto operator<=>(const GroupKey&) const = default;  // NOLINT(modernize-use-nullptr)
};

// "127.0.0.1", "::1": no brackets.
std::string address_text(const GroupKey& key);

// "udp/[::1]:53", with "@<inode>" behind it for another namespace than `own_netns_inode`.
std::string group_id(const GroupKey& key, uint32_t own_netns_inode);

// A set of CPUs; cpulist() is the kernel's notation, "0-1,4".
class CpuSet {
 public:
  // One more than the largest number of a CPU: none above is added, whatever a message claims.
  static constexpr uint32_t kLimit = 1 << 16;

  void add(uint32_t cpu);
  bool contains(uint32_t cpu) const;
  bool empty() const;
  uint32_t count() const;
  std::vector<uint32_t> list() const;
  std::string cpulist() const;
  bool operator==(const CpuSet&) const = default;

 private:
  std::vector<uint64_t> words_;  // no zero word at the end, so that equality is equality of sets
};

}  // namespace subset
