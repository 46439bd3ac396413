// SPDX-License-Identifier: MIT
#include "ctl/events.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>

#include "ctl/client.h"
#include "ctl/event_line.h"
#include "ctl/start.h"

namespace subset::ctl {
namespace {

constexpr auto kPause = std::chrono::milliseconds(250);  // between looks for a new daemon

enum class Waited { Event, ReaderGone };

// Who reads our lines may leave while nothing happens: `subset events | head -n 1`.
Result<Waited> wait_for_event(int daemon) {
  for (;;) {
    std::array<pollfd, 2> watched{pollfd{.fd = daemon, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = STDOUT_FILENO, .events = 0, .revents = 0}};
    if (poll(watched.data(), watched.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return fail_errno("wait for events");
    }
    if ((watched[1].revents & POLLERR) != 0) return Waited::ReaderGone;
    if (watched[0].revents != 0) return Waited::Event;
  }
}

// Nothing, where it is none that was asked for.
Result<std::string> line_of(const EventsCommand& command, const std::string& json, bool colour) {
  if (command.group && !event_concerns(json, *command.group)) return std::string();
  if (command.json) return json;
  return event_line(json, colour);
}

Result<void> print_event(const EventsCommand& command, const std::string& json, bool colour) {
  auto line = line_of(command, json, colour);
  if (!line) return tl::make_unexpected(line.error());
  if (line->empty()) return {};
  *line += "\n";
  if (std::fputs(line->c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    return fail_errno("write to standard output");
  return {};
}

enum class Ended { DaemonGone, ReaderGone };

Result<Ended> follow_one_daemon(Client& client, const EventsCommand& command, bool colour) {
  if (auto asked = client.follow(); !asked) return tl::make_unexpected(asked.error());
  for (;;) {
    auto waited = wait_for_event(client.fd());
    if (!waited) return tl::make_unexpected(waited.error());
    if (*waited == Waited::ReaderGone) return Ended::ReaderGone;
    auto json = client.next_event();
    if (!json) return tl::make_unexpected(json.error());
    if (!*json) return Ended::DaemonGone;
    if (auto printed = print_event(command, **json, colour); !printed)
      return tl::make_unexpected(printed.error());
  }
}

Client wait_for_daemon(const std::string& socket_path) {
  for (;;) {
    auto client = Client::connect(socket_path);
    if (client) return std::move(*client);
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Result<void> follow_events(const EventsCommand& command, const std::string& socket_path,
                           bool colour) {
  auto client = Client::connect(socket_path);
  if (!client) return tl::make_unexpected(client.error());
  for (;;) {
    auto ended = follow_one_daemon(*client, command, colour);
    if (!ended) return tl::make_unexpected(ended.error());
    if (*ended == Ended::ReaderGone) return {};
    tell("the daemon at " + socket_path + " has gone: waiting for it, events may be missing here");
    client = wait_for_daemon(socket_path);
    tell("the daemon at " + socket_path + " is back");
  }
}

}  // namespace subset::ctl
