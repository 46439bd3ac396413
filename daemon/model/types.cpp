// SPDX-License-Identifier: MIT
#include "daemon/model/types.h"

#include <arpa/inet.h>

#include <bit>

namespace subset {

const char* name_of(Protocol protocol) {
  return protocol == Protocol::Tcp ? "tcp" : "udp";
}

const char* name_of(MemberState state) {
  switch (state) {
    case MemberState::Active:
      return "active";
    case MemberState::Pending:
      return "pending";
    case MemberState::Draining:
      return "draining";
    case MemberState::Held:
      return "held";
  }
  return "unknown";
}

std::string address_text(const GroupKey& key) {
  char text[INET6_ADDRSTRLEN];
  const int family = key.family == Family::Inet ? AF_INET : AF_INET6;
  const char* written = inet_ntop(family, key.address.data(), text, sizeof text);
  return written != nullptr ? written : "";
}

std::string group_id(const GroupKey& key, uint32_t own_netns_inode) {
  const std::string address = address_text(key);
  std::string id = name_of(key.protocol);
  id += '/';
  id += key.family == Family::Inet6 ? '[' + address + ']' : address;
  id += ':' + std::to_string(key.port);
  if (key.netns_inode != own_netns_inode) {
    id += '@' + std::to_string(key.netns_inode);
  }
  return id;
}

void CpuSet::add(uint32_t cpu) {
  if (cpu >= kLimit) {
    return;
  }
  if (words_.size() <= cpu / 64) {
    words_.resize(cpu / 64 + 1);
  }
  words_[cpu / 64] |= uint64_t{1} << (cpu % 64);
}

bool CpuSet::contains(uint32_t cpu) const {
  return cpu / 64 < words_.size() && ((words_[cpu / 64] >> (cpu % 64)) & 1) != 0;
}

bool CpuSet::empty() const {
  return words_.empty();
}

uint32_t CpuSet::count() const {
  uint32_t sum = 0;
  for (const uint64_t word : words_) {
    sum += std::popcount(word);
  }
  return sum;
}

std::vector<uint32_t> CpuSet::list() const {
  std::vector<uint32_t> cpus;
  for (uint32_t i = 0; i < words_.size(); ++i) {
    for (uint64_t rest = words_[i]; rest != 0; rest &= rest - 1) {
      cpus.push_back(i * 64 + std::countr_zero(rest));
    }
  }
  return cpus;
}

std::string CpuSet::cpulist() const {
  const std::vector<uint32_t> cpus = list();
  std::string text;
  for (size_t first = 0, last = 0; first < cpus.size(); first = ++last) {
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    text += (text.empty() ? "" : ",") + std::to_string(cpus[first]);
    if (last > first) {
      text += '-' + std::to_string(cpus[last]);
    }
  }
  return text;
}

}  // namespace subset
