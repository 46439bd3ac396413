// SPDX-License-Identifier: MIT
#include "tests/system/harness/machine.h"

#include <atomic>
#include <fstream>
#include <sstream>

#include "tests/system/harness/network.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

// Two threads may each have a machine.
int next_number() {
  static std::atomic<int> number = 0;
  return ++number;
}

}  // namespace

Machine::Machine() : number_(next_number()) {
  enter_new_network();
  directory_ = std::filesystem::path(kScratch) / std::to_string(number_);
  std::filesystem::create_directory(directory_);
  // Servers of other users write their reports here.
  std::filesystem::permissions(directory_, std::filesystem::perms::all);
}

Machine::~Machine() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string Machine::unique(const std::string& name) {
  return name + "." + std::to_string(++names_);
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace subset::test
