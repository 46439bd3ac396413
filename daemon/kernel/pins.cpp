// SPDX-License-Identifier: MIT
#include "daemon/kernel/pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
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

namespace subset::kernel {
namespace {

constexpr char kDefaultMount[] = "/sys/fs/bpf";
constexpr char kGroupPrefix[] = "group-";
constexpr char kLayoutPrefix[] = "layout-";
constexpr std::string_view kDescriptors = "/proc/self/fd/";

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

bool leads_to(const std::string& path, const Fd& directory) {
  struct stat there {};
  struct stat opened {};
  return stat(path.c_str(), &there) == 0 && fstat(directory.get(), &opened) == 0 &&
         there.st_dev == opened.st_dev && there.st_ino == opened.st_ino;
}

// Pins are made by path alone (by directory from Linux 6.5 on), and a path may lead elsewhere from
// one call to the next: to the directory of another daemon. Without /proc there is but the path.
std::string way_to(const Fd& directory, const std::string& path) {
  std::string way = std::string(kDescriptors) + std::to_string(directory.get());
  return leads_to(way, directory) ? way : path;
}

}  // namespace

std::string shown_pin(const std::string& path) {
  if (path.rfind(kDescriptors, 0) != 0) return path;
  const size_t end = std::min(path.find('/', kDescriptors.size()), path.size());
  char name[PATH_MAX];
  const ssize_t length = readlink(path.substr(0, end).c_str(), name, sizeof name);
  if (length < 0) return path;
  return std::string(name, static_cast<size_t>(length)) + path.substr(end);
}

Result<void> Pins::make_dir(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  const int error = errno;
  const std::string shown = shown_pin(path);
  const bool dotted = error == EPERM && shown.find('.') != std::string::npos;
  return fail_system(error,
                     "make " + shown + (dotted ? " (a bpffs takes no name with a dot)" : ""));
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
    const std::string pin = path + "/" + name;
    if (unlink(pin.c_str()) != 0 && errno != ENOENT)
      return fail_system(errno, "remove " + shown_pin(pin));
  }
  if (rmdir(path.c_str()) != 0 && errno != ENOENT)
    return fail_system(errno, "remove " + shown_pin(path));
  return {};
}

Result<Pins> Pins::lock(const std::string& dir) {
  const std::string layout = kLayoutPrefix + std::to_string(SUBSET_LAYOUT);
  if (auto fine = refuse_other_layouts(dir, layout); !fine) return fail(fine.error(), "pins");
  Fd lock(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return fail_errno("open " + dir);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(EBUSY, "another subsetd works on " + dir);
  if (!leads_to(dir, lock)) return fail(EAGAIN, dir + " was removed just now");
  std::string root = way_to(lock, dir) + "/" + layout;
  return Pins(dir, std::move(root), std::move(lock));
}

// What another daemon has left is for the next one to adopt, not for this one: its groups have tags
// and counters of their own. The descriptor keeps its number, which is in all paths.
Result<void> Pins::move_to_new_dir() {
  auto there = lock(dir_);
  if (!there) return fail(ESTALE, there.error().message());
  if (!names(there->root_).empty())
    return fail(ESTALE, dir_ + " holds what another subsetd has pinned");
  if (dup3(there->lock_.get(), lock_.get(), O_CLOEXEC) < 0) return fail_errno("lock " + dir_);
  return {};
}

// Mounting is out of the question by now: the daemon has given up what it takes.
Result<void> Pins::keep_root() {
  if (!leads_to(dir_, lock_)) {
    if (!is_bpffs(dir_) && !is_bpffs(dir_.substr(0, dir_.rfind('/'))))
      return fail(ESTALE, dir_ + " is in no bpffs any more");
    if (auto made = make_dir(dir_); !made) return made;
    if (auto moved = move_to_new_dir(); !moved) return moved;
  }
  return make_dir(root_);
}

Result<void> Pins::pin(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()) != 0) return fail_system(errno, "pin " + shown_pin(path));
  return {};
}

Result<Fd> Pins::get(const std::string& path) {
  Fd found(bpf_obj_get(path.c_str()));
  if (!found) return fail_system(errno, "open the pin " + shown_pin(path));
  return found;
}

Result<size_t> Pins::keep_all(const std::string& dir,
                              const std::vector<std::pair<std::string, int>>& pinned) {
  size_t made = 0;
  for (const auto& [name, fd] : pinned) {
    const std::string path = dir + "/" + name;
    if (access(path.c_str(), F_OK) == 0) continue;
    if (auto done = pin(fd, path); !done) return tl::unexpected(done.error());
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
