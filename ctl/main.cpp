// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "ctl/check.h"
#include "ctl/command_line.h"
#include "ctl/events.h"
#include "ctl/exec.h"
#include "ctl/groups.h"
#include "ctl/run.h"
#include "ctl/start.h"
#include "ctl/top.h"
#include "protocol/message.h"

namespace subset::ctl {
namespace {

constexpr int kFailure = 1;

std::string socket_path(const std::optional<std::string>& option) {
  if (option) return *option;
  const char* variable = std::getenv("SUBSET_SOCKET");
  return variable != nullptr && *variable != '\0' ? variable : protocol::kDefaultSocketPath;
}

bool use_colour() {
  const char* refused = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return isatty(STDOUT_FILENO) == 1 && !dumb && (refused == nullptr || *refused == '\0');
}

int failure(const Error& error) {
  std::string line = error.message();
  for (char& c : line)
    if (c == '\n') c = ' ';
  tell(line);
  return kFailure;
}

// Text whose way to the terminal or the pipe may fail like anything else.
int print(const Result<std::string>& text) {
  if (!text) return failure(text.error());
  if (std::fputs(text->c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    return failure(fail_errno("write to standard output").value());
  return 0;
}

struct CarryOut {
  int operator()(const Saying& saying) const {
    std::fputs(saying.text.c_str(), saying.status == 0 ? stdout : stderr);
    return saying.status;
  }
  int operator()(const RunCommand& command) const {
    auto status = run(command);
    return status ? *status : failure(status.error());
  }
  int operator()(const ExecCommand& command) const { return failure(execute(command)); }
  int operator()(const StatusCommand& command) const {
    return print(show_status(command, socket_path(command.socket), use_colour()));
  }
  int operator()(const TopCommand& command) const {
    auto shown = top(command, socket_path(command.socket), use_colour());
    return shown ? 0 : failure(shown.error());
  }
  int operator()(const EventsCommand& command) const {
    auto followed = follow_events(command, socket_path(command.socket), use_colour());
    return followed ? 0 : failure(followed.error());
  }
  int operator()(const ChangeCommand& command) const {
    auto said = change_group(command, socket_path(command.socket));
    if (said && !said->empty()) *said += "\n";
    return print(said);
  }
  int operator()(const CheckCommand& command) const {
    return check(command, socket_path(command.socket), use_colour());
  }
};

}  // namespace
}  // namespace subset::ctl

int main(int argc, char** argv) {
  using namespace subset::ctl;
  // Nothing of ours throws; the parsers of words and JSON, and memory, may.
  try {
    return std::visit(CarryOut(), parse_command_line({argv + std::min(argc, 1), argv + argc}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "subset: %s\n", error.what());
    return kFailure;
  }
}
