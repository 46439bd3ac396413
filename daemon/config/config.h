// SPDX-License-Identifier: MIT
// What an administrator may set, in TOML: subsetd.toml(5) lists it. Pure: from text to a Config
// that is in range in every field.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "daemon/base/result.h"
#include "daemon/control/limits.h"
#include "daemon/http/address.h"
#include "daemon/model/quotas.h"
#include "protocol/message.h"

namespace subset {

inline constexpr char kDefaultConfigPath[] = "/etc/subset/subsetd.toml";

struct Config {
  std::string socket_path = protocol::kDefaultSocketPath;
  std::string socket_group;  // its name or number; empty: the daemon's own
  uint32_t socket_mode = 0666;
  std::string http_listen = http::kDefaultListen;  // or "off"
  bool http_required = false;  // it was asked for: where it cannot be had, nothing starts
  std::string pin_dir = "/sys/fs/bpf/subset";
  std::string log_level = "info";
  Quotas quotas;
  control::Limits limits;
  Hold hold;
  std::chrono::seconds linger{30};                // of a group without members
  std::chrono::milliseconds takeover_wait{1000};  // for a successor's first use of its socket
};

struct Complaint {
  uint32_t line = 0;  // counted from 1; 0: of the text as a whole
  std::string text;
};

// All that is wrong with the text, in the order of its lines. What is not TOML at all ends at the
// first such place.
tl::expected<Config, std::vector<Complaint>> parse_config(std::string_view text);

// Overrides one value, as the command line does. Errors: EINVAL, with text for the user.
Result<void> set_value(Config& config, std::string_view section, std::string_view key,
                       const std::string& value);

}  // namespace subset
