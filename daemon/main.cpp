// SPDX-License-Identifier: MIT
// subsetd: a thin main around the daemon's library.
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>

#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "daemon/base/log.h"
#include "daemon/command_line.h"
#include "daemon/daemon.h"
#include "daemon/kernel/teardown.h"

namespace {

// Signals that end the daemon are taken by its loop; a peer that hangs up is an errno.
void prepare_signals() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Each open connection, watched process and group takes descriptors; the soft limit is for programs
// that use select().
void allow_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// A plan of a large group takes a few vectors of some 100 KiB, again and again: without this each
// would be mapped, filled with fresh pages and given back.
void keep_freed_memory() {
  constexpr int kEnough = 8 << 20;
  mallopt(M_MMAP_THRESHOLD, kEnough);
  mallopt(M_TRIM_THRESHOLD, kEnough);
}

// The control socket that systemd (or whoever else started us) keeps open over our restarts.
subset::Fd inherited_listener() {
  return sd_listen_fds(1) > 0 ? subset::Fd(SD_LISTEN_FDS_START) : subset::Fd();
}

int fail(const subset::Error& error) {
  std::fprintf(stderr, "subsetd: %s\n", error.message().c_str());
  return 1;
}

int serve(subset::DaemonOptions options, const std::string& file) {
  spdlog::info("subsetd {} starts, {}", SUBSET_VERSION,
               file.empty() ? "without a configuration file" : "configured by " + file);
  auto daemon = subset::Daemon::create(std::move(options));
  if (!daemon) return fail(daemon.error());
  spdlog::info("subsetd is ready");
  if (auto run = (*daemon)->run(); !run) return fail(run.error());
  spdlog::info("subsetd ends; steering stays as it is");
  return 0;
}

int report(const subset::Misconfigured& bad) {
  for (const std::string& line : bad.lines) std::fprintf(stderr, "%s\n", line.c_str());
  return bad.status;
}

int say_good(const std::string& file) {
  if (file.empty())
    std::printf("%s is not there: the defaults are in force\n", subset::kDefaultConfigPath);
  else
    std::printf("%s: OK\n", file.c_str());
  return 0;
}

int tear_down(const std::string& pin_dir) {
  const auto done = subset::kernel::tear_down(pin_dir);
  if (!done) return fail(done.error());
  std::printf("%zu groups of %zu sockets are left to the kernel's own hash; %s is gone\n",
              done->groups, done->sockets, pin_dir.c_str());
  if (done->detached < done->sockets)
    std::printf("%zu sockets keep a program that does nothing until they close\n",
                done->sockets - done->detached);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto line = subset::read_command_line(argc, argv);
  if (!line) return line.error();
  auto configured = subset::configure(*line);
  if (!configured) return report(configured.error());
  if (line->check_config) return say_good(configured->file);
  if (auto started = subset::start_log(configured->config.log_level); !started)
    return fail(started.error());
  if (line->teardown) return tear_down(configured->config.pin_dir);
  prepare_signals();
  allow_descriptors();
  keep_freed_memory();
  subset::DaemonOptions options{std::move(configured->config)};
  options.listener = inherited_listener();
  return serve(std::move(options), configured->file);
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fputs(error.what(), stderr);
  return 1;
}
