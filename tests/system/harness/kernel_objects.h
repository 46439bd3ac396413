// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"

namespace subset::test {

// What a daemon has pinned: for all groups, under this name, and a directory for each group.
std::filesystem::path shared_pin(const DaemonProcess& daemon, const std::string& name);
std::vector<std::filesystem::path> group_pins(const DaemonProcess& daemon);

// The maps and programs that a daemon, and those before it, have had in the kernel; the machine may
// have others.
class KernelObjects {
 public:
  KernelObjects(Machine& machine, const DaemonProcess& daemon)
      : machine_(machine), daemon_(daemon) {}

  // Those that the daemon has open now: only what was seen can be missed later.
  void note();

  // What outlives whoever refers to it, in words; empty: nothing. Beside what the daemon has open
  // there may be what is attached to the sockets of so many groups, one `enter` each, and its maps.
  // Waits, since the kernel frees in its own time.
  std::string leftover(size_t groups) const;

 private:
  struct Object {
    std::string name;
    std::vector<uint32_t> maps;  // of a program
  };

  std::map<uint32_t, Object> objects(const char* what) const;
  std::set<uint32_t> open_ones(const char* kind) const;
  bool is_ours(uint32_t id, const Object& program) const;
  std::string left_now(size_t groups) const;

  Machine& machine_;
  const DaemonProcess& daemon_;
  std::set<uint32_t> maps_seen_, programs_seen_;
};

}  // namespace subset::test
