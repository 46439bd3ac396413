// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "tests/system/real_servers/trial.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

std::vector<Sharing> dns_groups(size_t members) {
  return {{"udp/127.0.0.1:5353", members},
          {"udp/[::1]:5353", members},
          {"tcp/127.0.0.1:5353", members},
          {"tcp/[::1]:5353", members}};
}

// dig opens a socket for each question, so each is a flow.
constexpr char kDig[] =
    "questions=$(yes host.example | head -n $FLOWS);"
    "for server in 127.0.0.1 ::1; do for how in +notcp +tcp; do"
    " dig +short +tries=1 +time=10 $how -p 5353 @$server $questions; done; done";

TEST_SUITE("system") {
  TEST_CASE("dnsmasq") {
    try_server({.server = "dnsmasq",
                .shape = 'A',

                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "hosts", "192.0.2.1 host.example\n");
                      return std::vector<std::string>{
                          "dnsmasq",
                          "--keep-in-foreground",
                          "--conf-file=/dev/null",
                          "--port=5353",
                          "--listen-address=127.0.0.1,::1",
                          "--bind-interfaces",
                          "--no-resolv",
                          "--no-hosts",
                          "--addn-hosts=" + (directory / "hosts").string(),
                          "--pid-file=",
                          "--log-facility=" + (directory / kLogFile).string()};
                    },
                .groups = dns_groups(2),
                .client = kDig,
                .reload = SIGHUP});
  }

  TEST_CASE("unbound, 2 threads") {
    try_server(
        {.server = "unbound, 2 threads",
         .shape = 'B',
         .prepare =
             [](const fs::path& directory) {
               write_file(directory / "unbound.conf",
                          "server:\n"
                          "  num-threads: 2\n"
                          "  interface: 127.0.0.1@5353\n"
                          "  interface: ::1@5353\n"
                          "  username: unbound\n"
                          "  chroot: \"\"\n"
                          "  pidfile: \"\"\n"
                          "  use-syslog: no\n"
                          "  statistics-interval: 0\n"
                          "  module-config: iterator\n"
                          "  local-zone: \"example.\" static\n"
                          "  local-data: \"host.example. 60 A 192.0.2.1\"\n"
                          "remote-control:\n"
                          "  control-enable: no\n");
               return std::vector<std::string>{"unbound", "-d", "-c", directory / "unbound.conf"};
             },
         .groups = dns_groups(4),
         .client = kDig,
         .reload = SIGHUP});
  }

  // It has changed its root by the time it binds: the control socket's path is not there any more.
  TEST_CASE("named -t, 2 threads") {
    try_server({.server = "BIND, `named -t` (chroot), 2 threads",
                .shape = 'B',
                .options = {"--match", "udp:5353,tcp:5353"},
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "named.conf",
                                 "options {\n"
                                 "  directory \"/\";\n"
                                 "  pid-file none;\n"
                                 "  session-keyfile none;\n"
                                 "  listen-on port 5353 { 127.0.0.1; };\n"
                                 "  listen-on-v6 port 5353 { ::1; };\n"
                                 "  recursion no;\n"
                                 "  dnssec-validation no;\n"
                                 "};\n"
                                 "controls { };\n"
                                 "zone \"example\" { type primary; file \"/zone\"; };\n");
                      write_file(directory / "zone",
                                 "$TTL 60\n"
                                 "@ SOA ns hostmaster 1 60 60 60 60\n"
                                 "@ NS ns\n"
                                 "ns A 127.0.0.1\n"
                                 "host A 192.0.2.1\n");
                      give_to("bind", directory);
                      return std::vector<std::string>{"named",   "-g", "-n",   "2",  "-t",
                                                      directory, "-u", "bind", "-c", "/named.conf"};
                    },
                .groups = dns_groups(4),
                .client = kDig,
                .reload = SIGHUP,
                .timing = {"automatic interface scanning terminated"},
                .ready = "all zones loaded"});
  }
}

}  // namespace
}  // namespace subset::test
