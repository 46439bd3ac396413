// SPDX-License-Identifier: MIT
// A server that somebody else wrote, as its package installs it: run once by itself, to know what
// it answers, logs and returns, and then as instances of a subset, with the same client, the same
// reload and the same end. What differs is a complaint.
#pragma once

#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/system/harness/process.h"

namespace subset::test {

// A group that the instances together make.
struct Sharing {
  std::string group;   // its id
  size_t members = 0;  // of all instances
};

struct Trial {
  std::string server;
  char shape = 'A';  // DESIGN: A a socket a process, B several sockets of a process,
                     // C forked workers, D threads with duplicates
  std::vector<std::string> options;  // of `subset exec`
  uint32_t instances = 2;
  // Writes what one process needs into this directory of its own; gives back its command line.
  std::function<std::vector<std::string>(const std::filesystem::path& directory)> prepare;
  std::vector<Sharing> groups;
  // A shell command that prints the answers; $FLOWS is how many each group's questions are to be.
  std::string client;
  // Where answers go that the client does not get: a file of each process' directory.
  std::string written_to = {};
  int reload = 0;                        // the signal that makes it read its configuration again
  std::vector<std::string> timing = {};  // in lines of its log that come or do not, as it happens
  std::string ready = {};  // what it says when it can answer, where it is bound before that
};

// Checks all of it, and puts a line into the table.
void try_server(const Trial& trial);

// Where an instance writes its own log, beside what it says on standard output and error.
inline constexpr char kLogFile[] = "own.log";

// As many flows as leave one of that many members out but once in three million runs.
constexpr uint64_t flows_for(size_t members) {
  return 8 + 14 * (members - 1);
}

void write_file(const std::filesystem::path& path, const std::string& text);

// For a server that writes there after it has changed its user.
void give_to(const std::string& user, const std::filesystem::path& path);

}  // namespace subset::test
