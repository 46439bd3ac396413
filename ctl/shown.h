// SPDX-License-Identifier: MIT
// How single values are shown, in `status` and in `top` alike: what is unknown is "-". Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>

#include "ctl/status.h"
#include "ctl/table.h"

namespace subset::ctl {

std::string shown(const std::optional<uint64_t>& value);
std::string shown(const std::string& value);  // nothing that a terminal would take for a command

// One value and its unit, by a format of printf that takes both.
std::string format_number(const char* format, double value, const char* unit);

// 512, 13.0K, 208K: three digits are enough to see how full a queue is.
std::string bytes_text(const std::optional<uint64_t>& bytes);

// "5s", "3m", "2h", "9d" since it became a member.
std::string age_text(const MemberView& member, std::time_t now);

Cell state_cell(const MemberView& member);

// What waits and how much may: bytes of datagrams (UDP), connections (TCP).
std::string queue_text(const GroupView& group, const MemberView& member);

// Instances that get traffic.
size_t active_instances(const GroupView& group);

}  // namespace subset::ctl
