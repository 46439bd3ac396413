// SPDX-License-Identifier: MIT
// Words into a command that can be carried out, or into the one line that says what is wrong. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ctl/roll.h"
#include "ctl/run_plan.h"
#include "protocol/message.h"

namespace subset::ctl {

struct RunCommand {
  uint32_t copies = 0;
  Steering steering;
  bool restart = false;
  std::chrono::seconds drain_time = kDrainPatience;  // of a rolling restart
  bool until_replaced = false;
  std::optional<std::string> http;  // where the daemon that it may run is seen, or "off"
  bool force = false;
  std::vector<std::string> command;
};

struct ExecCommand {
  std::string share;  // a value of SUBSET
  Steering steering;
  bool force = false;
  std::vector<std::string> command;
};

struct StatusCommand {
  std::optional<std::string> group, socket;
  bool json = false;
};

// Which of the values orders the rows of `top`.
enum class SortKey : uint8_t { Name, Rate, Queue, Drops, Open, Age };

struct TopCommand {
  std::optional<std::string> group, socket;
  bool json = false;
  double interval_seconds = 1;
  uint32_t samples = 0;  // 0: until it is stopped
  SortKey sort = SortKey::Name;
};

struct EventsCommand {
  std::optional<std::string> group, socket;  // a part of the groups' ids
  bool json = false;
};

struct ChangeCommand {
  protocol::Verb verb{};
  std::string group;  // an id, or a part of one
  uint32_t instance = protocol::Change::kAll;
  uint32_t value = 0;
  std::optional<std::string> socket;
};

struct CheckCommand {
  std::optional<std::string> socket;
  bool json = false;
};

// Nothing to carry out: help and version (status 0), or a usage error (status 2).
struct Saying {
  int status = 0;
  std::string text;
};

using Command = std::variant<Saying, RunCommand, ExecCommand, StatusCommand, TopCommand,
                             EventsCommand, ChangeCommand, CheckCommand>;

// `words` without the name of the program.
Command parse_command_line(const std::vector<std::string>& words);

}  // namespace subset::ctl
