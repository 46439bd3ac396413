// SPDX-License-Identifier: MIT
#include "daemon/daemon.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>

#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include "config.h"
#include "daemon/control/requests.h"
#include "daemon/control/server.h"
#include "daemon/groups/groups.h"
#include "daemon/http/server.h"
#include "daemon/http/site.h"
#include "daemon/kernel/privileges.h"
#include "daemon/kernel/socket_facts.h"
#include "daemon/kernel/topology.h"
#include "daemon/loop/loop.h"
#include "daemon/observe/figures.h"
#include "daemon/observe/recent_events.h"
#include "daemon/observe/sampler.h"

namespace subset {
namespace {

constexpr auto kStatusPeriod = std::chrono::seconds(5);

void log_happening(const Happening& happening) {
  std::string line = happening.group;
  if (happening.instance) line += " instance " + std::to_string(*happening.instance);
  line += " " + happening.what;
  if (happening.pid > 0)
    line += ": process " + std::to_string(happening.pid) + " (" + happening.command + ")";
  if (!happening.detail.empty()) line += ", " + happening.detail;
  spdlog::info("{}", line);
}

Result<Fd> stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  Fd fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("make a signalfd");
  return fd;
}

Result<control::Listener> open_listener(DaemonOptions& options) {
  if (options.listener) return control::Listener::adopt(std::move(options.listener));
  auto group = control::find_group(options.socket_group);
  if (!group) return tl::unexpected(group.error());
  return control::Listener::at_path(options.socket_path, {*group, options.socket_mode});
}

// By what the file says, since it may be a service manager that made it.
bool open_to_everybody(const DaemonOptions& options) {
  struct stat file {};
  return options.socket_group.empty() && stat(options.socket_path.c_str(), &file) == 0 &&
         (file.st_mode & 0777) == control::Access().mode;
}

// Where the path is not everybody's, neither is the name.
void open_name(const DaemonOptions& options, control::Server& server) {
  if (!open_to_everybody(options)) return;
  auto named = control::Listener::by_name(options.socket_path);
  if (named)
    server.listen_also(std::move(*named));
  else
    spdlog::warn("{}: servers that have called chroot cannot join", named.error().message());
}

// To be seen is not what the daemon is for: where the usual port is taken it steers all the same.
Result<std::optional<http::Listening>> open_http(const DaemonOptions& options) {
  auto address = http::parse_listen(options.http_listen);
  if (!address) return tl::unexpected(address.error());
  if (!*address) return std::optional<http::Listening>();
  auto listening = http::listen_at(**address);
  if (listening) return std::optional(std::move(*listening));
  if (options.http_required) return tl::unexpected(listening.error());
  spdlog::warn("no dashboard and no metrics: {}", listening.error().message());
  return std::optional<http::Listening>();
}

std::string page_at(const http::Address& address) {
  return "http://" + address.text() + "/";
}

void log_http(const http::Address& address) {
  spdlog::info("the dashboard is at {}", page_at(address));
  if (!address.loopback())
    spdlog::warn(
        "{} is no loopback address: whoever reaches it sees groups, processes and counters",
        address.text());
}

// Sets this daemon's events apart from those of the one before it.
std::string name_of_run() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::map<std::string, uint64_t> named(const control::Counters& counters) {
  return {{"connection", counters.connections},
          {"request", counters.requests},
          {"malformed", counters.malformed},
          {"refused", counters.refused},
          {"idle", counters.idle}};
}

Result<Groups::Surroundings> look_around(const Config& config) {
  auto pins = kernel::Pins::open(config.pin_dir);
  if (!pins) return tl::unexpected(pins.error());
  auto watch = kernel::Watch::open(*pins);
  if (!watch) return tl::unexpected(watch.error());
  auto netns = kernel::own_netns_inode();
  if (!netns) return tl::unexpected(netns.error());
  return Groups::Surroundings{std::move(*pins), std::move(*watch),   kernel::read_topology(),
                              *netns,           config.quotas,       config.hold,
                              config.linger,    config.takeover_wait};
}

}  // namespace

struct Daemon::Impl {
  // Destroyed from the last to the first: nothing outlives the loop that calls it.
  std::unique_ptr<Loop> loop;
  std::unique_ptr<Groups> groups;
  std::unique_ptr<observe::Sampler> sampler;
  std::unique_ptr<observe::RecentEvents> events;
  std::unique_ptr<control::Requests> requests;
  std::unique_ptr<control::Server> server;
  std::unique_ptr<http::Site> site;
  std::unique_ptr<http::Server> http_server;

  void tell(const Happening& happening);
  observe::Snapshot look() const;
  Result<void> serve_http(http::Listening listening);
  void keep_service_manager_informed();
  void report_status();
  Fd signals;
  Loop::Handle on_signal;
  Loop::Handle watchdog;
  Loop::Handle status;
  std::string last_status;
  bool remove_on_exit = false;
};

void Daemon::Impl::tell(const Happening& happening) {
  log_happening(happening);
  sampler->changed();
  const std::string event = observe::to_json(happening, std::chrono::system_clock::now());
  events->add(event);
  if (requests) requests->tell(event);
  if (http_server) http_server->wake_streams();
}

// The groups, and what the daemon says of itself.
observe::Snapshot Daemon::Impl::look() const {
  observe::Snapshot snapshot = groups->snapshot();
  observe::Figures& figures = snapshot.figures;
  figures.version = SUBSET_VERSION;
  if (auto process = observe::read_process_figures()) figures.process = *process;
  figures.registrations = requests->results();
  figures.registration_seconds = requests->durations();
  figures.control = named(server->counters());
  if (http_server) {
    figures.http_responses = http_server->counters().responses;
    figures.http_connections = http_server->counters().connections;
    figures.http_cut = http_server->counters().cut;
  }
  return snapshot;
}

Result<void> Daemon::Impl::serve_http(http::Listening listening) {
  site = std::make_unique<http::Site>(*sampler, *events,
                                      [this](std::string_view id) { return groups->table(id); });
  auto made = http::Server::create(*loop, *site, std::move(listening));
  if (!made) return fail(made.error(), "HTTP");
  http_server = std::move(*made);
  log_http(http_server->address());
  return {};
}

// A loop that turns is a daemon that works: nothing else would answer the watchdog.
void Daemon::Impl::keep_service_manager_informed() {
  uint64_t limit_us = 0;
  if (sd_watchdog_enabled(0, &limit_us) > 0) {
    watchdog =
        loop->every(std::chrono::microseconds(limit_us) / 3, [] { sd_notify(0, "WATCHDOG=1"); });
  }
  if (!std::getenv("NOTIFY_SOCKET")) return;
  status = loop->every(kStatusPeriod, [this] { report_status(); });
  report_status();
}

void Daemon::Impl::report_status() {
  const auto [count, members] = groups->size();
  std::string now = "STATUS=steers " + std::to_string(count) + " groups of " +
                    std::to_string(members) + " sockets";
  if (now == last_status) return;
  sd_notify(0, now.c_str());
  last_status = std::move(now);
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

// What needs privileges comes first, then they go, then strangers are let in.
Result<std::unique_ptr<Daemon>> Daemon::create(DaemonOptions options) {
  // Before the first thing that would fail for lack of them, and say less.
  if (auto may = kernel::check_capabilities(); !may) return tl::unexpected(may.error());
  auto impl = std::make_unique<Impl>();
  impl->remove_on_exit = options.remove_on_exit;
  auto loop = Loop::create();
  if (!loop) return tl::unexpected(loop.error());
  impl->loop = std::move(*loop);
  auto listener = open_listener(options);
  if (!listener) return tl::unexpected(listener.error());
  auto listening = open_http(options);
  if (!listening) return tl::unexpected(listening.error());
  auto around = look_around(options);
  if (!around) return tl::unexpected(around.error());
  auto signals = stop_signals();
  if (!signals) return tl::unexpected(signals.error());
  impl->signals = std::move(*signals);
  if (options.drop_capabilities) {
    if (auto dropped = kernel::drop_capabilities(); !dropped)
      return tl::unexpected(dropped.error());
  }
  auto tell = [parts = impl.get()](const Happening& happening) { parts->tell(happening); };
  impl->sampler =
      std::make_unique<observe::Sampler>([parts = impl.get()] { return parts->look(); });
  impl->events = std::make_unique<observe::RecentEvents>(name_of_run());
  impl->groups = std::make_unique<Groups>(std::move(*around), *impl->loop, tell);
  if (auto adopted = impl->groups->adopt(); !adopted) return tl::unexpected(adopted.error());
  impl->requests = std::make_unique<control::Requests>(*impl->groups, *impl->sampler, *impl->loop);
  impl->server = std::make_unique<control::Server>(*impl->loop, *impl->requests,
                                                   std::move(*listener), options.limits);
  open_name(options, *impl->server);
  if (*listening) {
    if (auto served = impl->serve_http(std::move(**listening)); !served)
      return tl::unexpected(served.error());
  }
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

Result<void> Daemon::run() {
  Impl& parts = *impl_;
  parts.on_signal = parts.loop->watch(parts.signals.get(), POLLIN, [&parts](uint32_t) {
    signalfd_siginfo info;
    while (read(parts.signals.get(), &info, sizeof info) == sizeof info) {
    }
    parts.loop->stop();
  });
  sd_notify(0, "READY=1");
  parts.keep_service_manager_informed();
  auto done = parts.loop->run();
  sd_notify(0, "STOPPING=1");
  parts.groups->settle_put_off();
  if (parts.remove_on_exit) (void)parts.groups->remove_empty();
  return done;
}

void Daemon::stop() {
  impl_->loop->stop();
}

std::string Daemon::page() const {
  return impl_->http_server ? page_at(impl_->http_server->address()) : "";
}

}  // namespace subset
