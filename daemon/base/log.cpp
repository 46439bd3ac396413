// SPDX-License-Identifier: MIT
#include "daemon/base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace subset {
namespace {

// `%N`: the priority of sd-daemon(3), which journald and systemd take off the line again.
class Priority final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& time,
              spdlog::memory_buf_t& out) override {
    static_cast<void>(time);
    out.push_back('<');
    out.push_back(digit(message.level));
    out.push_back('>');
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<Priority>();
  }

 private:
  static char digit(spdlog::level::level_enum level) {
    switch (level) {
      case spdlog::level::critical:
        return '2';
      case spdlog::level::err:
        return '3';
      case spdlog::level::warn:
        return '4';
      case spdlog::level::info:
        return '6';
      default:
        return '7';
    }
  }
};

// JOURNAL_STREAM names the journal's end by device and inode: it is inherited by processes whose
// standard error has since gone elsewhere, so its presence alone says nothing.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  if (!stream || fstat(STDERR_FILENO, &status) < 0) return false;
  return stream == std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

std::optional<spdlog::level::level_enum> level_of(std::string_view word) {
  if (word == "off") return spdlog::level::off;
  if (word == "error") return spdlog::level::err;
  if (word == "warn") return spdlog::level::warn;
  if (word == "info") return spdlog::level::info;
  if (word == "debug") return spdlog::level::debug;
  return std::nullopt;
}

std::unique_ptr<spdlog::formatter> make_formatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<Priority>('N');
  formatter->set_pattern(stderr_is_journal() ? "%N%v" : "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  return formatter;
}

}  // namespace

Result<void> start_log(std::string_view level) {
  auto known = level_of(level);
  if (!known) {
    return fail(EINVAL,
                "log level '" + std::string(level) + "' is none of off, error, warn, info, debug");
  }
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("subset", std::move(sink));
  logger->set_formatter(make_formatter());
  logger->set_level(*known);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

}  // namespace subset
