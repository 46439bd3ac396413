// SPDX-License-Identifier: MIT
#include "ctl/run.h"

#include <signal.h>
#include <sys/signalfd.h>

#include "ctl/client.h"
#include "ctl/embed.h"
#include "ctl/guardian.h"
#include "ctl/privilege.h"
#include "ctl/start.h"
#include "ctl/supervisor.h"

namespace subset::ctl {
namespace {

// Validates what every instance will be told, and looks at the programs: `{i}` may be part of the
// program's name.
Result<shim::Settings> check_all(const Launch& launch, const RunCommand& command) {
  Environment environment;  // one for all, but for the instance's number
  std::string seen;
  for (uint32_t i = 0; i < command.copies; ++i) {
    auto start = plan_start(launch, std::to_string(i) + "/" + std::to_string(command.copies), 1);
    if (!start) return tl::make_unexpected(start.error());
    environment = std::move(start->environment);
    if (start->arguments.front() == seen) continue;
    seen = start->arguments.front();
    auto reach = check_reach(seen, environment, command.force);
    if (!reach) return tl::make_unexpected(reach.error());
  }
  return *settings_of(environment);  // plan_start() has found it valid
}

Result<Fd> take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : Supervisor::handled_signals()) sigaddset(&set, number);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno("block signals");
  signal(SIGPIPE, SIG_IGN);
  Fd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("watch signals");
  return fd;
}

// Why no daemon of our own can run; empty: nothing known against it.
std::string lacks_privilege() {
  auto effective = effective_capabilities();
  if (!effective) return effective.error().message();
  std::string missing = missing_capabilities(*effective);
  return missing.empty() ? "" : "running one needs " + missing;
}

struct Daemons {
  std::unique_ptr<EmbeddedDaemon> own;
  std::string lack;  // why there is neither ours nor another; empty: there is one
};

Daemons find_or_embed(const std::string& path, const std::optional<std::string>& http) {
  auto listens = daemon_listens(path);
  if (!listens) return {.own = nullptr, .lack = listens.error().message()};
  if (*listens && http) tell("a daemon runs at " + path + ": --http is for one that this runs");
  if (*listens) return {};
  std::string missing = lacks_privilege();
  if (!missing.empty())
    return {.own = nullptr,
            .lack = "no daemon at " + path + " (start one: sudo subsetd; " + missing + ")"};
  tell("no daemon at " + path + ": running one until this command ends");
  auto own = EmbeddedDaemon::start(path, http);
  if (own && !(*own)->page().empty()) tell("its dashboard is at " + (*own)->page());
  if (own) return {.own = std::move(*own), .lack = {}};
  return {.own = nullptr, .lack = "running a daemon failed: " + own.error().message()};
}

}  // namespace

Result<int> run(const RunCommand& command) {
  auto launch = prepare_launch(command.command, command.steering);
  if (!launch) return tl::make_unexpected(launch.error());
  auto settings = check_all(*launch, command);
  if (!settings) return tl::make_unexpected(settings.error());
  auto signals = take_signals();
  if (!signals) return tl::make_unexpected(signals.error());
  allow_many_descriptors();
  // Before everything else that has descriptors, so that it keeps none of them open.
  auto guardian = Guardian::start();
  if (!guardian) return tl::make_unexpected(guardian.error());
  std::string socket_path = settings->socket_path;
  Daemons daemons = find_or_embed(socket_path, command.http);
  if (!daemons.lack.empty() && command.http)
    return fail(0, daemons.lack + "; without --http the servers are started all the same");
  if (!daemons.lack.empty()) {
    if (settings->fallback == shim::Fallback::Fail)
      return fail(0, daemons.lack + "; --fallback kernel starts the servers all the same");
    tell(daemons.lack + ": the kernel's own hash divides the traffic");
    silence_fallback_warnings(launch->environment);
  }
  Supervisor supervisor({.launch = std::move(*launch),
                         .copies = command.copies,
                         .restart = command.restart,
                         .drain_patience = command.drain_time,
                         .until_replaced = command.until_replaced,
                         .socket_path = std::move(socket_path),
                         .daemon = std::move(daemons.own),
                         .guardian = std::move(*guardian),
                         .signals = std::move(*signals)});
  return supervisor.run();
}

}  // namespace subset::ctl
