// SPDX-License-Identifier: MIT
// Where steering is kept while no daemon runs: a directory of a bpffs.
//
//   PIN-DIR/layout-1/                 what watches the machine: maps and a link
//   PIN-DIR/layout-1/group-<serial>/  what steers one group
//
// bpffs holds nothing but BPF objects and directories, so the layout's version is a name: a daemon
// that finds another `layout-*` refuses to start instead of guessing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::kernel {

class Pins {
 public:
  // Makes the directory (0700), and mounts a bpffs under it where there is none: at /sys/fs/bpf for
  // the default place, at `dir` itself for any other. Takes a lock that ends with this object or
  // this process: two daemons on one directory would undo each other (EBUSY).
  static Result<Pins> open(const std::string& dir);

  // The same of what is there already, making nothing; empty where nothing is.
  static Result<std::optional<Pins>> find(const std::string& dir);

  const std::string& dir() const { return dir_; }
  // PIN-DIR/layout-1 for the kernel, by way of the descriptor that is locked: it leads to that very
  // directory, or nowhere, whatever has its name by now. For people: shown_pin().
  const std::string& root() const { return root_; }
  // Does the name still lead to the directory that is locked? If that was removed, a new one is
  // made, or an empty one taken, and what was pinned has to be pinned again. ESTALE: another daemon
  // works there, or left pins, or it is in no bpffs.
  Result<void> keep_root();

  std::string group_dir(uint64_t serial) const;
  std::vector<uint64_t> group_serials() const;

  static Result<void> make_dir(const std::string& path);
  static Result<void> pin(int fd, const std::string& path);
  static Result<Fd> get(const std::string& path);
  // Pins those of these names and descriptors that are not there; how many that were.
  static Result<size_t> keep_all(const std::string& dir,
                                 const std::vector<std::pair<std::string, int>>& pinned);
  // Removes the pins in a directory, and the directory. What is gone already is no error.
  static Result<void> remove_dir(const std::string& path);
  static std::vector<std::string> names(const std::string& dir);

 private:
  static Result<Pins> lock(const std::string& dir);
  Pins(std::string dir, std::string root, Fd lock)
      : dir_(std::move(dir)), root_(std::move(root)), lock_(std::move(lock)) {}
  Result<void> move_to_new_dir();
  std::string dir_;
  std::string root_;
  Fd lock_;
};

// A path below Pins::root() as people know it.
std::string shown_pin(const std::string& path);

}  // namespace subset::kernel
