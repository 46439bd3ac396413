// SPDX-License-Identifier: MIT
#include "tests/system/real_servers/ports.h"

#include <cstdio>
#include <sstream>

#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"

namespace subset::test {
namespace {

constexpr char kListening[] = "0A";
constexpr char kUnconnected[] = "07";

}  // namespace

// "sl local_address rem_address st ...", addresses as HEX:PORT.
bool is_bound(const std::string& group) {
  const bool udp = group.starts_with("udp/");
  const bool ipv6 = group.find('[') != std::string::npos;
  char port[8];
  std::snprintf(port, sizeof port, ":%04X", std::stoi(group.substr(group.rfind(':') + 1)));
  const std::string table = std::string("/proc/thread-self/net/").append(udp ? "udp" : "tcp");
  for (const std::string& line : lines_with(read_file(ipv6 ? table + "6" : table), port)) {
    std::istringstream words(line);
    std::string number, local, remote, state;
    if (words >> number >> local >> remote >> state && local.ends_with(port) &&
        state == (udp ? kUnconnected : kListening))
      return true;
  }
  return false;
}

}  // namespace subset::test
