// SPDX-License-Identifier: MIT
#include "ctl/command_line.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>

#include <CLI/CLI.hpp>

#include "config.h"
#include "daemon/config/suggest.h"
#include "daemon/http/address.h"
#include "protocol/policy.h"

namespace subset::ctl {
namespace {

constexpr char kRunFooter[] =
    "{i} and {n} in the arguments become the instance and the total. Ctrl-C and SIGTERM stop all\n"
    "instances, a second one kills them; SIGHUP restarts them one at a time by takeover.\n"
    "Example: subset run -n 4 --match udp:53 -- dnsmasq --keep-in-foreground --pid-file=/run/d{i}";
constexpr char kExecFooter[] =
    "SHARE is I/N (instance I of N, from 0), auto/N (a vacant one of N) or auto.\n"
    "Example: subset exec 3/8 -- unbound -d";

constexpr char kTopFooter[] =
    "Keys: n, r, u, d, o and a sort by name, rate, queue, drops, open connections and age, the "
    "same\n"
    "key again turns the order round; g shows groups instead of members; ? lists all keys; q ends.";
constexpr uint32_t kMostDrainSeconds = 3600;

// A usage error that parsing itself does not find.
struct Misuse {
  std::string text;
};
template <typename T>
using OrMisuse = tl::expected<T, Misuse>;

tl::unexpected<Misuse> misuse(std::string text) {
  return tl::make_unexpected(Misuse{std::move(text)});
}

std::optional<uint32_t> whole_number(std::string_view text, uint32_t least, uint32_t most) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool all = error == std::errc() && end == text.data() + text.size();
  return all && value >= least && value <= most ? std::optional(value) : std::nullopt;
}

// Everything that the parser writes to, and the subcommands it writes for.
struct Parsed {
  RunCommand run;
  ExecCommand exec;
  StatusCommand status;
  TopCommand top;
  EventsCommand events;
  CheckCommand check;
  ChangeCommand change;
  std::string copies, drain_time, instance, value, interval, samples, sort;
};

// --- what there is to say ---------------------------------------------------------------------

void add_socket(CLI::App& app, std::optional<std::string>& socket) {
  app.add_option("--socket", socket, "the daemon's control socket")->type_name("PATH");
}

void add_steering(CLI::App& app, Steering& steering, bool& force) {
  for (const SteeringOption& each : kSteeringOptions) {
    std::optional<std::string>& value = steering.*each.value;
    if (each.placeholder != nullptr) {
      app.add_option(each.option, value, each.help)->type_name(each.placeholder);
    } else {
      app.add_flag_callback(
          each.option, [&value] { value = "1"; }, each.help);
    }
  }
  app.add_flag("--force", force, "start it even where LD_PRELOAD cannot reach it");
}

// The parser calls a subcommand by its name alone, which nobody can type.
class FullNameFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string name) const override {
    return CLI::Formatter::make_usage(app, app->get_parent() ? "subset " + name : name);
  }
};

// The parser does not know that a command follows.
class CommandFormatter : public CLI::Formatter {
 public:
  explicit CommandFormatter(std::string synopsis) : synopsis_(std::move(synopsis)) {}
  std::string make_usage(const CLI::App*, std::string name) const override {
    return "Usage: subset " + name + " " + synopsis_ + " [OPTIONS] [--] COMMAND [ARG...]\n";
  }

 private:
  std::string synopsis_;
};

// Whatever follows its name belongs to the command: `run -n 4 server --pin` passes --pin on.
void take_command(CLI::App& app, const char* synopsis, const char* footer) {
  app.prefix_command();
  app.formatter(std::make_shared<CommandFormatter>(synopsis));
  app.footer(footer);
}

void add_run(CLI::App& top, Parsed& parsed) {
  CLI::App& app = *top.add_subcommand("run", "start N instances of a server and look after them");
  app.add_option("-n,--copies", parsed.copies, "how many instances, 1 to 4096")->type_name("N");
  add_steering(app, parsed.run.steering, parsed.run.force);
  app.add_flag("--restart", parsed.run.restart, "bring an instance back that ended with an error");
  app.add_option("--drain-time", parsed.drain_time,
                 "how long a rolling restart lets an old process finish, 0 to 3600; 5")
      ->type_name("SECONDS");
  app.add_flag("--until-replaced", parsed.run.until_replaced,
               "end when another run has taken over all instances and nothing is queued here");
  app.add_option("--http", parsed.run.http,
                 "where a daemon that this runs serves the dashboard and metrics, or off; "
                 "127.0.0.1:9753 if that port is free")
      ->type_name("ADDRESS:PORT");
  take_command(app, "-n N", kRunFooter);
}

void add_exec(CLI::App& top, Parsed& parsed) {
  CLI::App& app = *top.add_subcommand("exec", "become one instance of a server");
  app.add_option("SHARE", parsed.exec.share, "I/N, auto/N or auto")->required()->type_name("");
  add_steering(app, parsed.exec.steering, parsed.exec.force);
  take_command(app, "SHARE", kExecFooter);
}

void add_top(CLI::App& parent, Parsed& parsed) {
  CLI::App& app = *parent.add_subcommand("top", "watch members and their traffic, live");
  app.add_option("GROUP", parsed.top.group, "id of one group, or a part of the ids of some")
      ->type_name("");
  app.add_option("--interval", parsed.interval, "time between two looks, 0.1 to 3600 (1)")
      ->type_name("SECONDS");
  app.add_option("--samples", parsed.samples, "end after so many looks")->type_name("N");
  app.add_option("--sort", parsed.sort, "name, rate, queue, drops, open or age")->type_name("KEY");
  app.add_flag("--json", parsed.top.json, "one JSON object a look, for programs");
  add_socket(app, parsed.top.socket);
  app.footer(kTopFooter);
}

void add_events(CLI::App& parent, Parsed& parsed) {
  CLI::App& app = *parent.add_subcommand("events", "say what happens to groups, until Ctrl-C");
  app.add_option("GROUP", parsed.events.group, "only of groups with this in their id")
      ->type_name("");
  app.add_flag("-f,--follow")->description("wait for more: it always does");
  app.add_flag("--json", parsed.events.json, "one JSON object a line");
  add_socket(app, parsed.events.socket);
}

void add_readers(CLI::App& top, Parsed& parsed) {
  CLI::App& status = *top.add_subcommand("status", "show groups, their members and their traffic");
  status.add_option("GROUP", parsed.status.group, "id of one group, or a part that only it has")
      ->type_name("");
  status.add_flag("--json", parsed.status.json, "the daemon's own document");
  add_socket(status, parsed.status.socket);
  add_top(top, parsed);
  add_events(top, parsed);
  CLI::App& check =
      *top.add_subcommand("check", "try what this machine can do, and say what lacks");
  check.add_flag("--json", parsed.check.json, "for programs");
  add_socket(check, parsed.check.socket);
}

struct ChangeWord {
  const char* name;
  protocol::Verb verb;
  bool has_instance;
  const char* value;  // name of a further argument
  const char* help;
};
constexpr ChangeWord kChangeWords[] = {
    {"drain", protocol::Verb::Drain, true, nullptr, "give an instance no new traffic"},
    {"resume", protocol::Verb::Resume, true, nullptr, "give a drained instance traffic again"},
    {"weight", protocol::Verb::Weight, true, "W", "change the share of an instance, 1 to 1000"},
    {"mode", protocol::Verb::SetMode, false, "MODE",
     "change how members are picked: hash, source, random, cpu, numa, least"},
    {"activate", protocol::Verb::Activate, false, nullptr,
     "switch to the pending generation, complete or not"},
    {"abandon", protocol::Verb::Abandon, false, nullptr, "drop the pending generation"},
    {"release", protocol::Verb::Release, true, nullptr,
     "close what is held of an instance whose server is away"},
};

void add_changes(CLI::App& top, Parsed& parsed) {
  for (const ChangeWord& word : kChangeWords) {
    CLI::App& app = *top.add_subcommand(word.name, word.help);
    app.add_option("GROUP", parsed.change.group, "id of a group, or a part that only it has")
        ->required()
        ->type_name("");
    if (word.has_instance)
      app.add_option("INSTANCE", parsed.instance, "its number, or all")->required()->type_name("");
    if (word.value != nullptr)
      app.add_option(word.value, parsed.value, "the new one")->required()->type_name("");
    add_socket(app, parsed.change.socket);
  }
}

std::unique_ptr<CLI::App> make_parser(Parsed& parsed) {
  auto app = std::make_unique<CLI::App>(
      "Several copies of a server share one address, each with its share of the traffic.",
      "subset");
  app->formatter(std::make_shared<FullNameFormatter>());  // and its subcommands
  app->set_version_flag("--version", std::string("subset ") + SUBSET_VERSION);
  app->require_subcommand(0, 1);  // none is refused by us, in our words
  add_run(*app, parsed);
  add_exec(*app, parsed);
  add_readers(*app, parsed);
  add_changes(*app, parsed);
  app->footer("'subset COMMAND --help' says more; so does the manual page subset(1).");
  return app;
}

// --- what was said ----------------------------------------------------------------------------

// `--` ends our options; CLI11 would take it, and everything behind, for positionals of ours.
struct Words {
  std::vector<std::string> ours, behind;
  bool separated = false;
};

Words split(const std::vector<std::string>& words) {
  bool takes_command = !words.empty() && (words[0] == "run" || words[0] == "exec");
  auto end = takes_command ? std::find(words.begin(), words.end(), "--") : words.end();
  Words parts{.ours = {words.begin(), end}, .behind = {}, .separated = end != words.end()};
  if (parts.separated) parts.behind.assign(end + 1, words.end());
  return parts;
}

OrMisuse<std::vector<std::string>> command_of(const CLI::App& app, const Words& words) {
  std::vector<std::string> command = app.remaining();
  if (!command.empty() && command.front().starts_with("-"))
    return misuse("no option " + command.front());
  // `run -n 2 sh -c -- x`: the separator came behind the command's name and belongs to it.
  if (!command.empty() && words.separated) command.emplace_back("--");
  command.insert(command.end(), words.behind.begin(), words.behind.end());
  if (command.empty()) return misuse("which command? Say it at the end, behind --");
  return command;
}

// The shim's own judgement of the options, in the option's name instead of the variable's.
OrMisuse<void> check_steering(const Steering& steering, const std::string& share) {
  Environment variables = variables_of(steering);
  set_variable(variables, "SUBSET", share);
  auto settings = settings_of(variables);
  if (settings) return {};
  const BadVariable& bad = settings.error();
  std::string name = "SHARE";
  for (const SteeringOption& each : kSteeringOptions)
    if (bad.variable == each.variable) name = each.option;
  return misuse(name + " " + bad.value + ": expected " + bad.expected);
}

OrMisuse<Command> finish_run(const CLI::App& app, Parsed& parsed, const Words& words) {
  auto command = command_of(app, words);
  if (!command) return tl::make_unexpected(command.error());
  if (parsed.copies.empty()) return misuse("how many instances? Say -n N");
  auto copies = whole_number(parsed.copies, 1, kMaxTotal);
  if (!copies) return misuse("-n " + parsed.copies + ": expected a number from 1 to 4096");
  parsed.run.copies = *copies;
  if (!parsed.drain_time.empty()) {
    const auto time = whole_number(parsed.drain_time, 0, kMostDrainSeconds);
    if (!time)
      return misuse("--drain-time " + parsed.drain_time + ": expected seconds from 0 to 3600");
    parsed.run.drain_time = std::chrono::seconds(*time);
  }
  if (parsed.run.http) {
    if (const auto listen = http::parse_listen(*parsed.run.http); !listen)
      return misuse("--http " + listen.error().message());
  }
  parsed.run.command = std::move(*command);
  auto steering = check_steering(parsed.run.steering, "0/" + parsed.copies);
  if (!steering) return tl::make_unexpected(steering.error());
  return parsed.run;
}

OrMisuse<Command> finish_exec(const CLI::App& app, Parsed& parsed, const Words& words) {
  auto steering = check_steering(parsed.exec.steering, parsed.exec.share);
  if (!steering) return tl::make_unexpected(steering.error());
  auto command = command_of(app, words);
  if (!command) return tl::make_unexpected(command.error());
  parsed.exec.command = std::move(*command);
  return parsed.exec;
}

constexpr std::array<std::pair<std::string_view, SortKey>, 6> kSortKeys{{{"name", SortKey::Name},
                                                                         {"rate", SortKey::Rate},
                                                                         {"queue", SortKey::Queue},
                                                                         {"drops", SortKey::Drops},
                                                                         {"open", SortKey::Open},
                                                                         {"age", SortKey::Age}}};

OrMisuse<double> interval_of(const std::string& text) {
  double seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool all = error == std::errc() && end == text.data() + text.size();
  if (all && seconds >= 0.1 && seconds <= 3600) return seconds;
  return misuse("--interval " + text + ": expected seconds, 0.1 to 3600");
}

OrMisuse<SortKey> sort_key_of(const std::string& text) {
  for (const auto& [name, key] : kSortKeys)
    if (name == text) return key;
  return misuse("--sort " + text + ": expected name, rate, queue, drops, open or age");
}

OrMisuse<Command> finish_top(Parsed& parsed) {
  if (!parsed.interval.empty()) {
    auto interval = interval_of(parsed.interval);
    if (!interval) return tl::make_unexpected(interval.error());
    parsed.top.interval_seconds = *interval;
  }
  if (!parsed.samples.empty()) {
    auto samples = whole_number(parsed.samples, 1, UINT32_MAX);
    if (!samples) return misuse("--samples " + parsed.samples + ": expected a number from 1");
    parsed.top.samples = *samples;
  }
  if (!parsed.sort.empty()) {
    auto key = sort_key_of(parsed.sort);
    if (!key) return tl::make_unexpected(key.error());
    parsed.top.sort = *key;
  }
  return parsed.top;
}

OrMisuse<uint32_t> value_of(const ChangeWord& word, const std::string& value) {
  if (word.verb == protocol::Verb::SetMode) {
    const auto* end = std::end(kModeNames);
    const auto* found = std::find(std::begin(kModeNames), end, value);
    if (found != end) return static_cast<uint32_t>(found - std::begin(kModeNames));
    return misuse("MODE " + value + ": expected hash, source, random, cpu, numa or least");
  }
  auto weight = whole_number(value, 1, kMaxWeight);
  if (weight) return *weight;
  return misuse("W " + value + ": expected a weight from 1 to 1000");
}

OrMisuse<Command> finish_change(const ChangeWord& word, Parsed& parsed) {
  ChangeCommand& change = parsed.change;
  change.verb = word.verb;
  if (change.group.empty() || change.group.size() >= sizeof protocol::Change::group)
    return misuse("GROUP has 1 to 199 characters: see subset status");
  if (word.has_instance && parsed.instance != "all") {
    auto instance = whole_number(parsed.instance, 0, kMaxTotal - 1);
    if (!instance)
      return misuse("INSTANCE " + parsed.instance + ": expected its number, from 0, or all");
    change.instance = *instance;
  }
  if (word.value != nullptr) {
    auto value = value_of(word, parsed.value);
    if (!value) return tl::make_unexpected(value.error());
    change.value = *value;
  }
  return change;
}

OrMisuse<Command> finish(const CLI::App& app, Parsed& parsed, const Words& words) {
  const std::string& name = app.get_name();
  if (name == "run") return finish_run(app, parsed, words);
  if (name == "exec") return finish_exec(app, parsed, words);
  if (name == "status") return parsed.status;
  if (name == "top") return finish_top(parsed);
  if (name == "events") return parsed.events;
  if (name == "check") return parsed.check;
  const auto* word = std::find_if(std::begin(kChangeWords), std::end(kChangeWords),
                                  [&](const ChangeWord& each) { return name == each.name; });
  return finish_change(*word, parsed);
}

// One line, whatever the parser or the words in it contain.
Saying usage_error(const std::string& command, std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::string name = command.empty() ? "subset" : "subset " + command;
  return {.status = 2, .text = name + ": " + text + " (see " + name + " --help)\n"};
}

Saying help_or_error(const CLI::App& top, const CLI::App* chosen, const CLI::Error& error) {
  if (dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr)
    return {.status = 0, .text = std::string(error.what()) + "\n"};
  const CLI::App& app = chosen != nullptr ? *chosen : top;
  if (error.get_exit_code() == 0) return {.status = 0, .text = app.help()};
  return usage_error(chosen != nullptr ? chosen->get_name() : "", error.what());
}

// The parser's own words for it are those for a word too many.
std::optional<Saying> unknown_command(const CLI::App& top, const std::vector<std::string>& words) {
  if (words.empty() || words.front().starts_with("-")) return std::nullopt;
  std::vector<std::string> names;
  for (const CLI::App* each : top.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(each->get_name());
  const std::string& typed = words.front();
  if (std::find(names.begin(), names.end(), typed) != names.end()) return std::nullopt;
  const std::vector<std::string_view> known(names.begin(), names.end());
  std::string text = "unknown command '" + typed + "'";
  if (const auto near = nearest_word(typed, known))
    text += "; is '" + std::string(*near) + "' meant?";
  return usage_error("", std::move(text));
}

const CLI::App* chosen_by(const CLI::App& top) {
  auto chosen = top.get_subcommands();
  return chosen.empty() ? nullptr : chosen.front();
}

}  // namespace

Command parse_command_line(const std::vector<std::string>& words) {
  Parsed parsed;
  auto app = make_parser(parsed);
  if (auto unknown = unknown_command(*app, words)) return *unknown;
  Words parts = split(words);
  std::vector<std::string> reversed(parts.ours.rbegin(), parts.ours.rend());  // as parse() wants
  try {
    app->parse(reversed);
  } catch (const CLI::Error& error) {
    return help_or_error(*app, chosen_by(*app), error);
  }
  const CLI::App* chosen = chosen_by(*app);
  if (chosen == nullptr) return usage_error("", "which command?");
  auto command = finish(*chosen, parsed, parts);
  return command ? *command : usage_error(chosen->get_name(), command.error().text);
}

}  // namespace subset::ctl
