// SPDX-License-Identifier: MIT
#include "daemon/kernel/pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include <bpf/bpf.h>

#include "bpf/layout.h"
#include "daemon/kernel/bpf_call.h"

namespace subset::kernel {
namespace {

constexpr char kDefaultMount[] = "/sys/fs/bpf";
constexpr char kGroupPrefix[] = "group-";
constexpr char kLayoutPrefix[] = "layout-";

bool is_bpffs(const std::string& path) {
  struct statfs fs {};
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

Result<void> mount_bpffs(const std::string& at) {
  if (mount("bpf", at.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
    return fail_errno("mount a bpffs at " + at + " (as root: mount -t bpf bpf " + at + ")");
  return {};
}

Result<void> ensure_bpffs(const std::string& dir) {
  const bool in_default = dir.rfind(kDefaultMount, 0) == 0;
  if (in_default && !is_bpffs(kDefaultMount)) {
    if (auto mounted = mount_bpffs(kDefaultMount); !mounted) return mounted;
  }
  if (auto made = Pins::make_dir(dir); !made) return made;
  if (is_bpffs(dir)) return {};
  return mount_bpffs(dir);
}

Result<void> refuse_other_layouts(const std::string& dir, const std::string& own) {
  for (const auto& name : Pins::names(dir)) {
    if (name.rfind(kLayoutPrefix, 0) == 0 && name != own)
      return fail(EEXIST, dir + "/" + name +
                              " holds steering of another version of subsetd; take it down with "
                              "that version's subsetd --teardown, or remove the directory");
  }
  return {};
}

}  // namespace

Result<void> Pins::make_dir(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  const bool dotted = errno == EPERM && path.find('.') != std::string::npos;
  return fail_errno("make " + path + (dotted ? " (a bpffs takes no name with a dot)" : ""));
}

std::vector<std::string> Pins::names(const std::string& dir) {
  std::vector<std::string> found;
  std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(dir.c_str()), closedir);
  if (!open) return found;
  while (const dirent* entry = readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<void> Pins::remove_dir(const std::string& path) {
  for (const auto& name : names(path)) {
    if (unlink((path + "/" + name).c_str()) != 0 && errno != ENOENT)
      return fail_errno("remove " + path + "/" + name);
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) return fail_errno("remove " + path);
  return {};
}

Result<Pins> Pins::lock(const std::string& dir) {
  const std::string layout = kLayoutPrefix + std::to_string(SUBSET_LAYOUT);
  if (auto fine = refuse_other_layouts(dir, layout); !fine) return fail(fine.error(), "pins");
  Fd lock(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return fail_errno("open " + dir);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(EBUSY, "another subsetd works on " + dir);
  return Pins(dir, dir + "/" + layout, std::move(lock));
}

// Mounting is out of the question by now: the daemon has given up what it takes.
Result<void> Pins::keep_root() {
  struct stat locked {};
  struct stat there {};
  const bool same = fstat(lock_.get(), &locked) == 0 && stat(dir_.c_str(), &there) == 0 &&
                    locked.st_dev == there.st_dev && locked.st_ino == there.st_ino;
  if (!same) {
    if (auto made = make_dir(dir_); !made) return made;
    if (!is_bpffs(dir_)) return fail(EPERM, dir_ + " is in no bpffs any more");
    auto again = lock(dir_);
    if (!again) return tl::unexpected(again.error());
    lock_ = std::move(again->lock_);
  }
  return make_dir(root_);
}

Result<size_t> Pins::keep_all(const std::string& dir,
                              const std::vector<std::pair<std::string, int>>& pinned) {
  size_t made = 0;
  for (const auto& [name, fd] : pinned) {
    const std::string path = dir + "/" + name;
    if (access(path.c_str(), F_OK) == 0) continue;
    if (auto done = checked(bpf_obj_pin(fd, path.c_str()), "pin " + path); !done)
      return tl::unexpected(done.error());
    made++;
  }
  return made;
}

Result<Pins> Pins::open(const std::string& dir) {
  if (auto mounted = ensure_bpffs(dir); !mounted) return fail(mounted.error(), "pins");
  auto pins = lock(dir);
  if (!pins) return pins;
  if (auto made = make_dir(pins->root_); !made) return fail(made.error(), "pins");
  return pins;
}

Result<std::optional<Pins>> Pins::find(const std::string& dir) {
  if (!is_bpffs(dir)) return std::optional<Pins>();
  auto pins = lock(dir);
  if (!pins) return tl::unexpected(pins.error());
  if (access(pins->root_.c_str(), F_OK) != 0) return std::optional<Pins>();
  return std::optional<Pins>(std::move(*pins));
}

std::string Pins::group_dir(uint64_t serial) const {
  char hex[17];
  snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(serial));
  return root_ + "/" + kGroupPrefix + hex;
}

std::vector<uint64_t> Pins::group_serials() const {
  std::vector<uint64_t> serials;
  for (const auto& name : names(root_)) {
    if (name.rfind(kGroupPrefix, 0) != 0) continue;
    const char* first = name.data() + sizeof kGroupPrefix - 1;
    const char* last = name.data() + name.size();
    uint64_t serial = 0;
    if (auto [end, error] = std::from_chars(first, last, serial, 16);
        error == std::errc() && end == last && serial != 0)
      serials.push_back(serial);
  }
  return serials;
}

}  // namespace subset::kernel
