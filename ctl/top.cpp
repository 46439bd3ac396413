// SPDX-License-Identifier: MIT
#include "ctl/top.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "ctl/client.h"
#include "ctl/rates.h"
#include "ctl/screen.h"
#include "ctl/status.h"
#include "ctl/top_view.h"

namespace subset::ctl {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A key has to wait for an answer that is due: not for long.
constexpr auto kPatience = std::chrono::seconds(1);

double seconds_now() {
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

Clock::duration interval_of(const TopCommand& command) {
  return std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(command.interval_seconds));
}

Result<std::string> fetch(const std::string& socket_path) {
  auto client = Client::connect(socket_path, kPatience);
  if (!client) return tl::make_unexpected(client.error());
  return client->status();
}

void keep_wanted(std::vector<GroupView>& groups, const std::optional<std::string>& part) {
  if (!part) return;
  std::erase_if(groups,
                [&](const GroupView& group) { return group.id.find(*part) == std::string::npos; });
}

Result<Look> look(const TopCommand& command, const std::string& socket_path) {
  auto document = fetch(socket_path);
  if (!document) return tl::make_unexpected(document.error());
  const double now = seconds_now();
  auto groups = parse_status(*document);
  if (!groups) return tl::make_unexpected(groups.error());
  keep_wanted(*groups, command.group);
  return Look{.at_seconds = now, .groups = std::move(*groups)};
}

// --- on the terminal --------------------------------------------------------------------------

// What is on the screen, from the last look that succeeded.
class Watched {
 public:
  Watched(const TopCommand& command, const std::string& socket_path, Look first)
      : command_(command), socket_path_(socket_path), last_(std::move(first)) {
    input_.groups = last_.groups;
  }

  void look_again() {
    auto now = look(command_, socket_path_);
    if (!now) {
      const auto age = static_cast<uint64_t>(seconds_now() - last_.at_seconds);
      input_.trouble = "as of " + std::to_string(age) + " s ago: " + now.error().message();
      return;
    }
    input_.rates = Rates(last_, now->at_seconds);
    input_.groups = now->groups;
    input_.trouble.clear();
    last_ = std::move(*now);
  }

  const TopInput& input() {
    input_.now = std::time(nullptr);
    return input_;
  }

 private:
  const TopCommand& command_;
  const std::string& socket_path_;
  Look last_;
  TopInput input_;
};

milliseconds until(Clock::time_point then) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(then - Clock::now()));
}

// Until the next look is due; true: it is to end.
Result<bool> serve_keys(Screen& screen, Watched& watched, TopState& state, Clock::time_point due) {
  for (;;) {
    screen.draw(render_top(watched.input(), state, screen.size()));
    const milliseconds left = until(due);
    auto input = screen.wait(left);
    if (!input) return tl::make_unexpected(input.error());
    if (input->came == Screen::Came::Stop) return true;
    if (input->came == Screen::Came::Key &&
        press(state, input->key, page_rows(screen.size())) == After::Quit)
      return true;
    if (Clock::now() >= due) return false;
  }
}

Result<void> show(const TopCommand& command, const std::string& socket_path, bool colour) {
  // The first time a daemon that is not there is a mistake to be told on an untouched terminal.
  auto first = look(command, socket_path);
  if (!first) return tl::make_unexpected(first.error());
  auto screen = Screen::open(colour);
  if (!screen) return tl::make_unexpected(screen.error());
  Watched watched(command, socket_path, std::move(*first));
  TopState state;
  state.sort = command.sort;
  // Rates are wanted soon: the second look does not wait for a long interval.
  auto due = Clock::now() + std::min<Clock::duration>(interval_of(command), milliseconds(500));
  for (uint32_t looks = 0; command.samples == 0 || looks < command.samples; looks++) {
    auto stop = serve_keys(*screen, watched, state, due);
    if (!stop) return tl::make_unexpected(stop.error());
    if (*stop) return {};
    watched.look_again();
    due = std::max(due + interval_of(command), Clock::now());
  }
  return {};
}

// --- for programs -----------------------------------------------------------------------------

Result<void> print_lines(const TopCommand& command, const std::string& socket_path) {
  auto before = look(command, socket_path);
  if (!before) return tl::make_unexpected(before.error());
  for (uint32_t looks = 0; command.samples == 0 || looks < command.samples; looks++) {
    std::this_thread::sleep_for(interval_of(command));
    auto document = fetch(socket_path);
    if (!document) return tl::make_unexpected(document.error());
    const double now = seconds_now();
    auto line =
        document_with_rates(*document, command.group, Rates(*before, now), std::time(nullptr));
    if (!line) return tl::make_unexpected(line.error());
    if (std::fputs(line->c_str(), stdout) < 0 || std::fflush(stdout) != 0)
      return fail_errno("write to standard output");
    auto groups = parse_status(*document);
    if (!groups) return tl::make_unexpected(groups.error());
    *before = {.at_seconds = now, .groups = std::move(*groups)};
  }
  return {};
}

}  // namespace

Result<void> top(const TopCommand& command, const std::string& socket_path, bool colour) {
  return command.json ? print_lines(command, socket_path) : show(command, socket_path, colour);
}

}  // namespace subset::ctl
