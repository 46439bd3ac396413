// SPDX-License-Identifier: MIT
// A value that does not parse is an error at the first bind: EINVAL, and one line that names the
// variable and the value; never a silent default, which would be a server without its share.
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";

struct Variable {
  std::string name;
  std::vector<std::string> malformed;
};

std::string too_many_rules() {
  std::string rules = "udp:1";
  for (int port = 2; port <= 33; port++) rules += ",udp:" + std::to_string(port);
  return rules;
}

std::vector<Variable> variables() {
  return {
      {"SUBSET",
       {"9/8",
        "8/8",
        "3/0",
        "0/0",
        "x/8",
        "3/x",
        "3",
        "/",
        "/8",
        "3/",
        " 3/8",
        "3/8 ",
        "3 /8",
        "-1/8",
        "+1/8",
        "3/-8",
        "0x1/8",
        "3/8/9",
        "3/8x",
        "3/4097",
        "0/4294967297",
        "4294967296/8",
        "99999999999999999999/8",
        "3/99999999999999999999",
        "auto/0",
        "auto/",
        "auto/4097",
        "auto/x",
        "auto/8/9",
        "AUTO",
        "autos",
        "any/8",
        "3\n/8"}},
      {"SUBSET_MATCH",
       {"sctp",
        "UDP",
        "udp:",
        "udp:0",
        "udp:65536",
        "udp:-1",
        "udp:53-",
        "udp:-53",
        "udp:53-52",
        "udp:53x",
        "udp:[::1",
        "udp:[::1]",
        "udp:[::1]:",
        "udp:::1:53",
        "udp:300.1.1.1:53",
        "udp:1.2.3:53",
        "udp:[127.0.0.1]:53",
        "udp:[::g]:53",
        "udp:localhost:53",
        "udp,",
        ",udp",
        "udp,,tcp",
        "udp tcp",
        too_many_rules()}},
      {"SUBSET_MODE", {"hsah", "HASH", "0", "hash ", "hash,cpu", "round-robin"}},
      {"SUBSET_SPREAD", {"on", "forks", "fork,", ",dup", "fork dup", "fork,nope"}},
      {"SUBSET_VACANCY", {"none", "spread,hold", "Hold", "1"}},
      {"SUBSET_CONFLICT", {"yes", "take-over", "Refuse"}},
      {"SUBSET_WEIGHT", {"0", "1001", "-1", "+5", "abc", "1.5", "100 ", "0x10", "4294967396"}},
      {"SUBSET_PIN", {"yes", "2", "-1", "on"}},
      {"SUBSET_FALLBACK", {"none", "Kernel", "1"}},
      {"SUBSET_SOCKET", {std::string("/run/") + std::string(108, 'x')}},
      {"SUBSET_LOG", {"verbose", "3", "WARN"}},
  };
}

TEST_SUITE("system") {
  TEST_CASE("every malformed value of every variable is one line and EINVAL") {
    Machine machine;
    DaemonProcess daemon(machine);
    for (const Variable& variable : variables()) {
      for (const std::string& value : variable.malformed) {
        CAPTURE(variable.name);
        CAPTURE(value);
        Environment environment = daemon.environment("0/2");
        environment[variable.name] = value;
        auto server = run(
            machine, {.argv = udp_server_command(0, {kAddress}), .environment = environment}, 2s);
        CAPTURE(server.err);
        CHECK(server.status == 1);
        CHECK(server.err.find("bind: Invalid argument") != std::string::npos);
        auto lines = lines_with(server.err, "subset:");
        REQUIRE(lines.size() == 1);
        CHECK(lines.front().find(variable.name) != std::string::npos);
        CHECK(lines_with(server.err, "").size() == 2);  // that one, and the server's own
      }
    }
    CHECK(daemon.status().groups.empty());
  }
}

}  // namespace
}  // namespace subset::test
