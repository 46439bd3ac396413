// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>

namespace subset::test {

// What one test case has to itself: a network and a directory. Servers and daemons of a case get
// their files here, and are gone before it is.
class Machine {
 public:
  Machine();
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // A path for a new file.
  std::filesystem::path file(const std::string& name) const { return directory_ / name; }
  // A name that no other file of this machine has: "server.3".
  std::string unique(const std::string& name);
  int number() const { return number_; }

 private:
  int number_;
  int names_ = 0;
  std::filesystem::path directory_;
};

// All of a file, or "" where there is none.
std::string read_file(const std::filesystem::path& path);

}  // namespace subset::test
