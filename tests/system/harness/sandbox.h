// SPDX-License-Identifier: MIT
// A test binary runs in process and mount namespaces of its own, with private /run and
// /sys/fs/bpf. So tests run beside each other and beside a real daemon (even the default paths of
// socket and pins are theirs alone), and nothing is left when they end, however they end: the
// kernel kills what a dead process namespace still holds, and its files go with the mounts.
#pragma once

#include <filesystem>
#include <functional>

namespace subset::test {

inline constexpr char kScratch[] = "/run/subset-test";  // for the tests' files, in memory
inline constexpr char kBpffs[] = "/sys/fs/bpf";

// Runs `body` in there and gives back its exit status; 128 + signal if one ended it.
int run_in_sandbox(const std::function<int()>& body);

// A file of the build, by its path in the build directory, and one of the source tree: both under
// /run, where every user can read them wherever the repository is.
std::filesystem::path built(const std::filesystem::path& path);
std::filesystem::path source(const std::filesystem::path& path);

// The bpffs can only be read as long as this lives.
class ReadOnlyBpffs {
 public:
  ReadOnlyBpffs();
  ~ReadOnlyBpffs();
  ReadOnlyBpffs(const ReadOnlyBpffs&) = delete;
  ReadOnlyBpffs& operator=(const ReadOnlyBpffs&) = delete;
};

// Another file system in the bpffs's place, "tmpfs" or a "bpf" of its own, as long as this lives.
// Who works below that path has it unmounted under its feet when this ends.
class OtherMount {
 public:
  explicit OtherMount(const char* type);
  ~OtherMount();
  OtherMount(const OtherMount&) = delete;
  OtherMount& operator=(const OtherMount&) = delete;
};

}  // namespace subset::test
