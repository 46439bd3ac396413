// SPDX-License-Identifier: MIT
// Any text as a configuration: what is taken is in range in every field, and what is not says in
// order of lines, in words that a terminal shows, what is wrong.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/config/config.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const subset::Config& config) {
  require(config.socket_path.front() == '/' && config.socket_path.size() <= 107);
  require(config.socket_mode <= 0777);
  require(config.pin_dir.front() == '/');
  require(subset::http::parse_listen(config.http_listen).has_value());
  require(config.quotas.groups_per_user >= 1 && config.quotas.groups >= 1);
  require(config.limits.user.connections >= 1 && config.limits.connections >= 1);
  require(config.limits.user.requests_per_second >= 1 && config.limits.user.burst >= 1);
  require(config.limits.idle >= std::chrono::seconds(1));
  require(config.hold.time >= std::chrono::seconds(1));
  require(config.hold.receive_buffer_bytes >= 4096);
  require(config.linger <= std::chrono::seconds(86400));
  require(config.takeover_wait <= std::chrono::seconds(5));
}

void check(const std::vector<subset::Complaint>& complaints) {
  require(!complaints.empty());
  uint32_t line = 0;
  for (const subset::Complaint& complaint : complaints) {
    require(complaint.line >= line);
    line = complaint.line;
    require(!complaint.text.empty());
    for (const unsigned char c : complaint.text) require(c >= ' ' && c != 127);
  }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = subset::parse_config({reinterpret_cast<const char*>(data), size});
  if (parsed) {
    check(*parsed);
  } else {
    check(parsed.error());
  }
  return 0;
}
