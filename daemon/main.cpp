// SPDX-License-Identifier: MIT
// subsetd: a thin main around the daemon's library.
#include <signal.h>
#include <sys/resource.h>

#include <cstdio>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "daemon/base/log.h"
#include "daemon/daemon.h"

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

// The control socket that systemd (or whoever else started us) keeps open over our restarts.
subset::Fd inherited_listener() {
  return sd_listen_fds(1) > 0 ? subset::Fd(SD_LISTEN_FDS_START) : subset::Fd();
}

int fail(const subset::Error& error) {
  std::fprintf(stderr, "subsetd: %s\n", error.message().c_str());
  return 1;
}

int serve(subset::DaemonOptions options) {
  auto daemon = subset::Daemon::create(std::move(options));
  if (!daemon) return fail(daemon.error());
  spdlog::info("subsetd {} is ready", SUBSET_VERSION);
  if (auto run = (*daemon)->run(); !run) return fail(run.error());
  spdlog::info("subsetd ends; steering stays as it is");
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  subset::DaemonOptions options;
  std::string level = "info";
  CLI::App app{"subsetd: owns the membership of groups that SO_SUBSET steers", "subsetd"};
  app.add_option("--socket", options.socket_path, "path of the control socket")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option("--pin-dir", options.pin_dir, "where steering is kept, in a bpffs")
      ->type_name("DIR")
      ->capture_default_str();
  auto* http = app.add_option("--http", options.http_listen,
                              "where the dashboard and the metrics are served, or off")
                   ->type_name("ADDRESS:PORT")
                   ->capture_default_str();
  app.add_option("--log", level, "off, error, warn, info or debug")->capture_default_str();
  app.set_version_flag("--version", "subsetd " SUBSET_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  options.http_required = http->count() > 0;
  if (auto started = subset::start_log(level); !started) {
    fail(started.error());
    return 2;
  }
  prepare_signals();
  allow_descriptors();
  options.listener = inherited_listener();
  return serve(std::move(options));
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fputs(error.what(), stderr);
  return 1;
}
