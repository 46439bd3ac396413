// SPDX-License-Identifier: MIT
// The status document. Whatever way it is fetched, it is checked before a test sees it: against the
// schema, and for what must hold at every moment.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace subset::test {

struct MemberStatus {
  uint32_t instance = 0;
  uint32_t member = 0;
  std::string state;
  std::optional<int> pid;
  std::string command;
  uint64_t cookie = 0;
  uint32_t weight = 0;
  uint64_t selected = 0;
  uint64_t migrated = 0;
  uint64_t queue_bytes = 0;
  uint64_t queue_limit_bytes = 0;
  uint64_t drops = 0;
  uint32_t backlog = 0;
  uint32_t backlog_limit = 0;
  uint64_t open_connections = 0;
};

struct GroupStatus {
  std::string id;
  ino_t netns = 0;
  uint32_t uid = 0;
  std::string mode;
  uint32_t total = 0;
  uint64_t generation = 0;
  uint64_t home = 0;
  uint64_t alternative = 0;
  uint64_t kernel = 0;
  uint64_t refused = 0;
  size_t strangers = 0;
  bool foreign = false;
  std::vector<MemberStatus> members;

  uint64_t selected() const { return home + alternative; }
  // Those that get traffic.
  size_t active() const { return in_state("active"); }
  size_t in_state(const std::string& state) const;
  // The active member of an instance with one member, or nullptr.
  const MemberStatus* of(uint32_t instance) const;
};

struct Document {
  std::vector<GroupStatus> groups;

  // nullptr where there is none.
  const GroupStatus* find(const std::string& id) const;
  // Throws where there is none.
  const GroupStatus& group(const std::string& id) const;
  // The first group of this user's sockets: two users' groups may have one address.
  const GroupStatus* of_user(uint32_t uid) const;
};

// Throws if the text breaks the contract.
Document parse_status(const std::string& text);

// Who listens there does not answer.
class HungUp : public std::runtime_error {
  using runtime_error::runtime_error;
};

// Asks the daemon behind this control socket.
Document fetch_status(const std::string& socket_path);

}  // namespace subset::test
