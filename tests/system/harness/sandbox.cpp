// SPDX-License-Identifier: MIT
#include "tests/system/harness/sandbox.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

const fs::path kScratchPath = kScratch;
const fs::path kBuild = kScratchPath / "build";
const fs::path kSource = kScratchPath / "source";

void mount_new(const char* type, const char* where, unsigned long flags, const char* options) {
  checked(mount(type, where, type, flags, options), std::string("mount ") + type + " on " + where);
}

void bind_mount(const char* variable, const fs::path& where) {
  const char* from = std::getenv(variable);
  if (!from) throw std::runtime_error(std::string(variable) + " is not set: run by `meson test`");
  fs::create_directories(where);
  checked(mount(from, where.c_str(), nullptr, MS_BIND, nullptr), "bind mount " + where.string());
}

void set_up_mounts() {
  checked(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "make mounts private");
  mount_new("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_new("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
  mount_new("bpf", kBpffs, MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  bind_mount("SUBSET_BUILD_ROOT", kBuild);
  bind_mount("SUBSET_SOURCE_ROOT", kSource);
}

int status_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The first process of the namespace: it inherits orphans and reaps them. When it leaves, the
// kernel kills whatever is left.
[[noreturn]] void be_init(const std::function<int()>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pid_t tests = -1;
  try {
    set_up_mounts();
    tests = checked(fork(), "fork");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sandbox: %s\n", error.what());
    std::_Exit(1);
  }
  if (tests == 0) std::exit(body());
  for (;;) {
    int status = 0;
    pid_t pid = wait(&status);
    if (pid == tests) std::_Exit(status_code(status));
  }
}

}  // namespace

int run_in_sandbox(const std::function<int()>& body) {
  checked(unshare(CLONE_NEWPID | CLONE_NEWNS), "unshare (system tests need root)");
  pid_t init = checked(fork(), "fork");
  if (init == 0) be_init(body);
  int status = 0;
  checked(waitpid(init, &status, 0), "waitpid");
  return status_code(status);
}

fs::path built(const fs::path& path) {
  return kBuild / path;
}

fs::path source(const fs::path& path) {
  return kSource / path;
}

ReadOnlyBpffs::ReadOnlyBpffs() {
  checked(mount(nullptr, kBpffs, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), "remount");
}

ReadOnlyBpffs::~ReadOnlyBpffs() {
  mount(nullptr, kBpffs, nullptr, MS_REMOUNT | MS_BIND, nullptr);
}

OtherMount::OtherMount(const char* type) {
  mount_new(type, kBpffs, MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
}

OtherMount::~OtherMount() {
  umount2(kBpffs, MNT_DETACH);
}

}  // namespace subset::test
