// SPDX-License-Identifier: MIT
// The table below is the configuration: a line for each key says how its value is read, in which
// range, and where it goes.
#include "daemon/config/config.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <utility>

#include "daemon/base/log.h"
#include "daemon/config/suggest.h"
#include "daemon/http/address.h"

// The parser of toml++ 3.3 asserts what its caller has not checked ("[[#"), and reports it as an
// error two lines later: without the assertion, as in a release, it is one.
#define TOML_ASSERT(expr) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace subset {
namespace {

// --- how a value is read ------------------------------------------------------------------------

// Puts the value into the Config, or says what is wrong with it ("is 0 (1 to 9 is possible)").
using Reader = std::function<std::optional<std::string>(Config&, const toml::node&)>;

std::string kind_of(const toml::node& node) {
  std::ostringstream name;
  name << node.type();
  return name.str();
}

template <typename Assign>
Reader number(int64_t first, int64_t last, Assign assign) {
  return [=](Config& config, const toml::node& node) -> std::optional<std::string> {
    const auto value = node.value_exact<int64_t>();
    if (!value) return "wants a whole number; this is a " + kind_of(node);
    if (*value < first || *value > last)
      return "is " + std::to_string(*value) + " (" + std::to_string(first) + " to " +
             std::to_string(last) + " is possible)";
    assign(config, *value);
    return std::nullopt;
  };
}

// `assign` may complain.
template <typename Assign>
Reader text(Assign assign) {
  return [=](Config& config, const toml::node& node) -> std::optional<std::string> {
    const auto value = node.value_exact<std::string>();
    if (!value) return "wants a string in quotes; this is a " + kind_of(node);
    return assign(config, *value);
  };
}

std::string quoted(std::string_view value) {
  return "'" + std::string(value) + "'";
}

// Paths and names end up in system calls and log lines.
bool is_plain(std::string_view value) {
  return std::none_of(value.begin(), value.end(),
                      [](unsigned char c) { return c < ' ' || c == 127; });
}

Reader absolute_path(std::string Config::*where, size_t longest) {
  return text([=](Config& config, const std::string& value) -> std::optional<std::string> {
    if (value.size() < 2 || value.front() != '/' || !is_plain(value))
      return "is " + quoted(value) + "; an absolute path is wanted";
    if (value.size() > longest) return "is longer than " + std::to_string(longest) + " characters";
    config.*where = value;
    return std::nullopt;
  });
}

std::optional<std::string> read_group(Config& config, const std::string& value) {
  constexpr size_t kLongest = 255;
  if (!is_plain(value) || value.size() > kLongest || value.find_first_of(":/ ") != value.npos)
    return "is " + quoted(value) + ", which cannot be the name of a group";
  config.socket_group = value;
  return std::nullopt;
}

std::optional<std::string> read_mode(Config& config, const std::string& value) {
  uint32_t mode = 0;
  const char* end = value.data() + value.size();
  const auto read = std::from_chars(value.data(), end, mode, 8);
  if (read.ec != std::errc() || read.ptr != end || mode > 0777)
    return "is " + quoted(value) + "; octal digits up to 0777 are wanted, such as \"0660\"";
  config.socket_mode = mode;
  return std::nullopt;
}

std::optional<std::string> read_level(Config& config, const std::string& value) {
  if (std::find(kLogLevels.begin(), kLogLevels.end(), value) == kLogLevels.end())
    return "is " + quoted(value) + "; it may be off, error, warn, info or debug";
  config.log_level = value;
  return std::nullopt;
}

std::optional<std::string> read_listen(Config& config, const std::string& value) {
  if (const auto address = http::parse_listen(value); !address)
    return "is wrong: " + address.error().message();
  config.http_listen = value;
  config.http_required = true;
  return std::nullopt;
}

Reader quota(uint32_t Quotas::*where, int64_t first = 1) {
  return number(first, std::numeric_limits<uint32_t>::max(), [=](Config& config, int64_t value) {
    config.quotas.*where = static_cast<uint32_t>(value);
  });
}

// --- the keys -----------------------------------------------------------------------------------

struct Key {
  std::string_view name;
  Reader read;
};

struct Section {
  std::string_view name;
  std::vector<Key> keys;
};

constexpr size_t kLongestPath = 4000;
constexpr size_t kLongestSocketPath = 107;  // sun_path
constexpr int64_t kMostConnections = 100000;
constexpr int64_t kMostRequests = 10000000;

std::vector<Section> make_sections() {
  using std::chrono::seconds;
  return {
      {"control",
       {{"socket", absolute_path(&Config::socket_path, kLongestSocketPath)},
        {"group", text(read_group)},
        {"mode", text(read_mode)}}},
      {"http", {{"listen", text(read_listen)}}},
      {"pins", {{"dir", absolute_path(&Config::pin_dir, kLongestPath)}}},
      {"log", {{"level", text(read_level)}}},
      {"quotas",  // of one user
       {{"groups", quota(&Quotas::groups_per_user)},
        {"members", quota(&Quotas::members_per_user)},
        {"instances", quota(&Quotas::instances_per_user)},
        {"held_sockets", quota(&Quotas::held_sockets_per_user, 0)},
        {"connections", number(1, kMostConnections,
                               [](Config& config, int64_t value) {
                                 config.limits.user.connections = static_cast<size_t>(value);
                               })},
        {"requests_per_second", number(1, kMostRequests,
                                       [](Config& config, int64_t value) {
                                         config.limits.user.requests_per_second =
                                             static_cast<double>(value);
                                       })},
        {"burst", number(1, kMostRequests,
                         [](Config& config, int64_t value) {
                           config.limits.user.burst = static_cast<double>(value);
                         })}}},
      {"limits",  // of all users together
       {{"groups", quota(&Quotas::groups)},
        {"members", quota(&Quotas::members)},
        {"instances", quota(&Quotas::instances)},
        {"held_sockets", quota(&Quotas::held_sockets, 0)},
        {"connections", number(1, kMostConnections,
                               [](Config& config, int64_t value) {
                                 config.limits.connections = static_cast<size_t>(value);
                               })},
        {"idle_seconds",
         number(1, 3600,
                [](Config& config, int64_t value) { config.limits.idle = seconds(value); })}}},
      {"groups",
       {{"linger_seconds",
         number(0, 86400, [](Config& config, int64_t value) { config.linger = seconds(value); })},
        {"takeover_wait_milliseconds", number(0, 5000,
                                              [](Config& config, int64_t value) {
                                                config.takeover_wait =
                                                    std::chrono::milliseconds(value);
                                              })}}},
      {"hold",
       {{"seconds",
         number(1, 86400,
                [](Config& config, int64_t value) { config.hold.time = seconds(value); })},
        {"receive_buffer_bytes", number(4096, 1 << 30,
                                        [](Config& config, int64_t value) {
                                          config.hold.receive_buffer_bytes =
                                              static_cast<uint32_t>(value);
                                        })}}},
  };
  // clang 14 loses sight of what a std::function in an initializer list owns.
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks)

const std::vector<Section>& sections() {
  static const std::vector<Section> all = make_sections();
  return all;
}

template <typename T>
const T* find_named(std::span<const T> all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const T& it) { return it.name == name; });
  return found == all.end() ? nullptr : &*found;
}

template <typename T>
std::vector<std::string_view> names_of(std::span<const T> all) {
  std::vector<std::string_view> names;
  for (const T& it : all) names.push_back(it.name);
  return names;
}

// --- what is wrong ------------------------------------------------------------------------------

class Complaints {
 public:
  // Terminals and logs see what was typed.
  void add(const toml::source_region& where, std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c > '~'; }, '?');
    complaints_.push_back({where.begin.line, std::move(text)});
  }
  void add_once(uint32_t line, std::string text) {
    if (complaints_.empty() || complaints_.back().line != line)
      complaints_.push_back({line, std::move(text)});
  }
  bool empty() const { return complaints_.empty(); }
  std::vector<Complaint> sorted() && {
    std::stable_sort(complaints_.begin(), complaints_.end(),
                     [](const Complaint& a, const Complaint& b) { return a.line < b.line; });
    return std::move(complaints_);
  }

 private:
  std::vector<Complaint> complaints_;
};

// The parser of toml++ 3.3 runs into code that it marks as unreachable at some characters beyond
// ASCII. No value of ours has any, so that they are left to comments, which the parser need not see
// as they are. What a string of several lines hides from this is no value of ours either.
std::string without_foreign_comments(std::string_view text, Complaints& complaints) {
  std::string ascii(text);
  uint32_t line = 1;
  char quote = 0;
  bool comment = false;
  for (char& c : ascii) {
    if (c == '\n') {
      ++line;
      quote = 0;
      comment = false;
    } else if (static_cast<unsigned char>(c) > 126) {
      if (!comment) complaints.add_once(line, "only comments may have characters beyond ASCII");
      c = '?';
    } else if (!comment && quote == 0 && c == '#') {
      comment = true;
    } else if (!comment && (c == '"' || c == '\'')) {
      if (quote == 0)
        quote = c;
      else if (quote == c)
        quote = 0;
    }
  }
  return ascii;
}

// No line is as long as what may be typed.
std::string shown(std::string_view name) {
  constexpr size_t kLongest = 40;
  return std::string(name.substr(0, kLongest));
}

std::string list_of(const std::vector<std::string_view>& words) {
  std::string list;
  for (std::string_view word : words) list += (list.empty() ? "" : ", ") + std::string(word);
  return list;
}

std::string no_such_section(std::string_view name) {
  const auto names = names_of<Section>(sections());
  std::string text = "there is no section [" + shown(name) + "]";
  if (const auto near = nearest_word(name, names))
    return text + "; is [" + std::string(*near) + "] meant?";
  for (const Section& section : sections()) {
    if (find_named<Key>(section.keys, name))
      return text + "; " + shown(name) + " is a key of [" + std::string(section.name) + "]";
  }
  return text + "; there are " + list_of(names);
}

std::string no_such_key(const Section& section, std::string_view name) {
  const auto names = names_of<Key>(section.keys);
  const std::string place = "[" + std::string(section.name) + "]";
  std::string text = place + " has no key " + shown(name);
  if (const auto near = nearest_word(name, names))
    return text + "; is " + std::string(*near) + " meant?";
  for (const Section& other : sections()) {
    if (find_named<Key>(other.keys, name)) return text + "; [" + std::string(other.name) + "] has";
  }
  return text + "; its keys are " + list_of(names);
}

std::string of_key(std::string_view section, std::string_view key, const std::string& complaint) {
  return std::string(section) + "." + std::string(key) + " " + complaint;
}

void read_section(const Section& section, const toml::table& table, Config& config,
                  Complaints& complaints) {
  for (const auto& [name, value] : table) {
    const Key* key = find_named<Key>(section.keys, name.str());
    if (!key) {
      complaints.add(name.source(), no_such_key(section, name.str()));
    } else if (const auto complaint = key->read(config, value)) {
      complaints.add(value.source(), of_key(section.name, key->name, *complaint));
    }
  }
}

void read_sections(const toml::table& root, Config& config, Complaints& complaints) {
  for (const auto& [name, value] : root) {
    const Section* section = find_named<Section>(sections(), name.str());
    if (!section) {
      complaints.add(name.source(), no_such_section(name.str()));
    } else if (const toml::table* table = value.as_table()) {
      read_section(*section, *table, config, complaints);
    } else {
      complaints.add(name.source(), shown(name.str()) + " is a section, [" + shown(name.str()) +
                                        "], and no value");
    }
  }
}

}  // namespace

tl::expected<Config, std::vector<Complaint>> parse_config(std::string_view text) {
  Complaints complaints;
  const std::string ascii = without_foreign_comments(text, complaints);
  if (!complaints.empty()) return tl::unexpected(std::move(complaints).sorted());
  const toml::parse_result parsed = toml::parse(ascii);
  if (!parsed) {
    complaints.add(parsed.error().source(), std::string(parsed.error().description()));
    return tl::unexpected(std::move(complaints).sorted());
  }
  Config config;
  read_sections(parsed.table(), config, complaints);
  if (!complaints.empty()) return tl::unexpected(std::move(complaints).sorted());
  return config;
}

Result<void> set_value(Config& config, std::string_view section, std::string_view key,
                       const std::string& value) {
  const Key* found = find_named<Key>(find_named<Section>(sections(), section)->keys, key);
  if (const auto complaint = found->read(config, toml::value<std::string>(value)))
    return fail(EINVAL, *complaint);
  return {};
}

}  // namespace subset
