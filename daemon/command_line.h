// SPDX-License-Identifier: MIT
// What subsetd is told: its command line over its configuration file over the defaults.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "daemon/config/config.h"

namespace subset {

struct CommandLine {
  std::string config_file;  // empty: the default one, if it is there
  std::optional<std::string> socket;
  std::optional<std::string> http;
  std::optional<std::string> pin_dir;
  std::optional<std::string> log_level;
  bool check_config = false;
  bool teardown = false;
};

// What is to be done, or the exit status of a command line that says it all (--help) or is wrong;
// then the text is out already.
tl::expected<CommandLine, int> read_command_line(int argc, char** argv);

struct Configured {
  Config config;
  std::string file;  // empty: there is none
};

// Lines for standard error, and the exit status that goes with them: 1 for what is wrong with the
// file, 2 for the command line.
struct Misconfigured {
  int status = 1;
  std::vector<std::string> lines;
};

tl::expected<Configured, Misconfigured> configure(const CommandLine& line);

}  // namespace subset
