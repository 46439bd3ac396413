// SPDX-License-Identifier: MIT
// The status document (DESIGN section 8) read, and shown to people. Pure. A field that is missing
// or of another type is shown as unknown: an older or newer daemon is no reason to show nothing.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace subset::ctl {

struct MemberView {
  std::optional<uint64_t> instance, member, weight, selected, queue_bytes, queue_limit_bytes, drops,
      backlog, backlog_limit, open_connections, cookie;
  std::optional<int64_t> pid;
  std::string state, command, cpus, since;
  bool vacant = false;
};

struct StrangerView {
  std::optional<int64_t> pid;
  std::string command, reason;
};

struct GroupView {
  std::string id, protocol, mode;
  std::optional<uint64_t> uid, total, generation, home, alternative, kernel, refused;
  std::optional<double> imbalance;
  std::vector<MemberView> members;
  std::vector<StrangerView> strangers;
  std::string foreign;  // why its own program does not decide; empty: it does
};

Result<std::vector<GroupView>> parse_status(const std::string& document);

// The id of the one group that is meant: all of an id, or a part that only one has. An error lists
// what there is.
Result<std::string> choose_group(const std::vector<GroupView>& groups, const std::string& wanted);

struct Style {
  bool colour = false;
  std::time_t now = 0;  // ages are counted to here
};
std::string render_status(const std::vector<GroupView>& groups, const Style& style);

// The document as it came, indented; of one group alone where `id` is given.
Result<std::string> pretty_status(const std::string& document,
                                  const std::optional<std::string>& id);

class Rates;

// The document on one line, with `time` in front, and `rate` (selections a second) in each group
// and `rate` and `drops_rate` in each member; null where they are not known. Of groups with `part`
// in their ids alone where it is given.
Result<std::string> document_with_rates(const std::string& document,
                                        const std::optional<std::string>& part, const Rates& rates,
                                        std::time_t now);

}  // namespace subset::ctl
