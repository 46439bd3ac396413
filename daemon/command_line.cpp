// SPDX-License-Identifier: MIT
#include "daemon/command_line.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>

#include "config.h"
#include "daemon/base/fd.h"
#include "daemon/base/log.h"

namespace subset {
namespace {

constexpr size_t kLongestFile = 1 << 20;

// Reads no more than a configuration has, whatever the file is.
Result<std::string> read_file(const std::string& path) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(path);
  std::string text;
  char part[4096];
  for (;;) {
    const ssize_t size = read(file.get(), part, sizeof part);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(path);
    if (size == 0) return text;
    text.append(part, static_cast<size_t>(size));
    if (text.size() > kLongestFile)
      return fail(EFBIG, path + ": this is no configuration: it is too long");
  }
}

// A path on the command line is seen from where it was typed; in a file there is no such place.
std::optional<std::string> from_here(const std::optional<std::string>& path) {
  if (!path || path->empty()) return path;
  std::error_code ignored;
  return std::filesystem::absolute(*path, ignored).string();
}

tl::unexpected<Misconfigured> wrong(int status, std::string line) {
  return tl::unexpected(Misconfigured{status, {std::move(line)}});
}

tl::expected<Configured, Misconfigured> from_file(const std::string& wanted) {
  const std::string path = wanted.empty() ? kDefaultConfigPath : wanted;
  const auto text = read_file(path);
  if (!text && text.error().code == ENOENT && wanted.empty()) return Configured{};
  if (!text) return wrong(1, "subsetd: " + text.error().message());
  auto config = parse_config(*text);
  if (config) return Configured{std::move(*config), path};
  Misconfigured bad;
  for (const Complaint& complaint : config.error())
    bad.lines.push_back(path + ":" + std::to_string(complaint.line) + ": " + complaint.text);
  return tl::unexpected(std::move(bad));
}

}  // namespace

tl::expected<CommandLine, int> read_command_line(int argc, char** argv) {
  CommandLine line;
  CLI::App app{"subsetd: owns the membership of groups that SO_SUBSET steers", "subsetd"};
  const Config defaults;
  const auto option = [&](const char* name, auto& value, const std::string& text,
                          const char* type) {
    return app.add_option(name, value, text)->type_name(type);
  };
  option(
      "--config", line.config_file,
      std::string("configuration in TOML; without it ") + kDefaultConfigPath + ", if it is there",
      "FILE");
  option("--socket", line.socket, "path of the control socket [" + defaults.socket_path + "]",
         "PATH");
  option("--http", line.http,
         "where to serve metrics and the dashboard, or off [" + defaults.http_listen + "]",
         "ADDRESS:PORT");
  option("--pin-dir", line.pin_dir, "where steering is kept, in a bpffs [" + defaults.pin_dir + "]",
         "DIR");
  option("--log", line.log_level, "off, error, warn, info or debug [" + defaults.log_level + "]",
         "LEVEL");
  app.add_flag("--check-config", line.check_config,
               "say what is wrong with the configuration, and end");
  app.add_flag("--teardown", line.teardown,
               "take all steering down, and end: servers go on with the kernel's own hash")
      ->excludes("--check-config");
  app.footer("What is said here goes before the configuration file. subsetd(8), subsetd.toml(5)");
  app.set_version_flag("--version", "subsetd " SUBSET_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return tl::unexpected(app.exit(error) == 0 ? 0 : 2);
  }
  return line;
}

tl::expected<Configured, Misconfigured> configure(const CommandLine& line) {
  auto configured = from_file(line.config_file);
  if (!configured) return configured;
  const struct {
    const char* name;
    const char* section;
    const char* key;
    std::optional<std::string> value;
  } overrides[] = {{"--socket", "control", "socket", from_here(line.socket)},
                   {"--http", "http", "listen", line.http},
                   {"--pin-dir", "pins", "dir", from_here(line.pin_dir)},
                   {"--log", "log", "level", line.log_level}};
  for (const auto& [name, section, key, value] : overrides) {
    if (!value) continue;
    if (auto set = set_value(configured->config, section, key, *value); !set)
      return wrong(2, std::string("subsetd: ") + name + " " + set.error().message());
  }
  return configured;
}

}  // namespace subset
