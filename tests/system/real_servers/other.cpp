// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "tests/system/real_servers/trial.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string freeradius_configuration(const std::string& directory) {
  return "prefix = /usr\n"
         "libdir = /usr/lib/freeradius\n"
         "logdir = " +
         directory +
         "\n"
         "run_dir = " +
         directory +
         "\n"
         "log { destination = stdout }\n"
         "security { allow_vulnerable_openssl = yes }\n"
         "client local { ipaddr = 127.0.0.1\n secret = secret\n }\n"
         "client local6 { ipv6addr = ::1\n secret = secret\n }\n"
         "modules { }\n"
         "server default {\n"
         "  listen { type = auth\n ipaddr = 127.0.0.1\n port = 1812\n }\n"
         "  listen { type = auth\n ipv6addr = ::1\n port = 1812\n }\n"
         "  authorize {\n"
         "    update control { &Auth-Type := Accept }\n"
         "    update reply { &Reply-Message := \"hello %{User-Name}\" }\n"
         "  }\n"
         "}\n";
}

TEST_SUITE("system") {
  // Syslog promises no order between datagrams, and a few machines send most of them.
  TEST_CASE("rsyslog, imudp") {
    try_server({.server = "rsyslog, imudp",
                .shape = 'A',
                .options = {"--mode", "random"},
                .instances = 3,
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "rsyslog.conf",
                                 "global(workDirectory=\"" + directory.string() +
                                     "\")\n"
                                     "module(load=\"imudp\")\n"
                                     "input(type=\"imudp\" address=\"127.0.0.1\" port=\"5140\")\n"
                                     "input(type=\"imudp\" address=\"::1\" port=\"5140\")\n"
                                     "template(name=\"text\" type=\"string\" string=\"%msg%\\n\")\n"
                                     "action(type=\"omfile\" file=\"" +
                                     (directory / "log").string() + "\" template=\"text\")\n");
                      return Words{"rsyslogd",        "-n", "-i",
                                   directory / "pid", "-f", directory / "rsyslog.conf"};
                    },
                .groups = {{"udp/127.0.0.1:5140", 3}, {"udp/[::1]:5140", 3}},
                .client = "for server in 127.0.0.1 ::1; do"
                          " seq -f 'message %g' $FLOWS | logger --udp --server $server --port 5140;"
                          "done",
                .written_to = "log",
                .reload = SIGHUP});
  }

  // All requests of one client, so of one flow: each finds its own way.
  TEST_CASE("freeradius") {
    try_server({.server = "freeradius",
                .shape = 'A',
                .options = {"--mode", "random", "--match", "udp:1812"},
                .prepare =
                    [](const fs::path& directory) {
                      write_file(directory / "radiusd.conf", freeradius_configuration(directory));
                      return Words{"freeradius", "-f", "-l", "stdout", "-d", directory};
                    },
                .groups = {{"udp/127.0.0.1:1812", 2}, {"udp/[::1]:1812", 2}},
                .client = "for server in 127.0.0.1 [::1]; do"
                          " yes User-Name=bob | head -n $FLOWS | sed G |"
                          " radclient -r 1 -t 10 -p 16 $server:1812 auth secret |"
                          " sed -n 's/ Id .*//p' | grep Received;"
                          "done",
                .reload = SIGHUP});
  }

  TEST_CASE("chronyd with its seccomp filter") {
    try_server(
        {.server = "chronyd -F 1 (seccomp)",
         .shape = 'A',
         .prepare =
             [](const fs::path& directory) {
               write_file(directory / "chrony.conf",
                          "port 1123\n"
                          "cmdport 0\n"
                          "bindcmdaddress /\n"
                          "local stratum 5\n"
                          "allow\n"
                          "pidfile " +
                              (directory / "pid").string() + "\n");
               return Words{"chronyd", "-d", "-x", "-F", "1", "-f", directory / "chrony.conf"};
             },
         .groups = {{"udp/0.0.0.0:1123", 2}, {"udp/[::]:1123", 2}},
         .client = "for server in 127.0.0.1 ::1; do"
                   " chronyd -Q -t 10 \"server $server port 1123 iburst maxsamples 1\" 2>&1 |"
                   " grep -c 'System clock wrong';"
                   // A client's question; leap, version, mode and stratum of the answer.
                   " python3 $CLIENTS/ask_udp.py $server 1123 $((FLOWS - 1)) 23$(printf %094d 0) 2;"
                   "done"});
  }

  // The paper's own case: one process, one socket, several threads that contend for it.
  TEST_CASE("memcached, UDP, 4 threads") {
    try_server({.server = "memcached, UDP, 4 threads",
                .shape = 'D',
                .options = {"--spread", "dup", "--match", "udp"},
                .instances = 1,
                .prepare =
                    [](const fs::path&) {
                      return Words{"memcached", "-u",    "memcache", "-p", "0",
                                   "-U",        "11211", "-t",       "4"};
                    },
                .groups = {{"udp/0.0.0.0:11211", 4}, {"udp/[::]:11211", 4}},
                .client = "for server in 127.0.0.1 ::1; do"
                          // The header of a request of one datagram, and "version".
                          " python3 $CLIENTS/ask_udp.py $server 11211 $FLOWS"
                          " 000100000001000076657273696f6e0d0a 64;"
                          "done"});
  }

  TEST_CASE("redis") {
    try_server({.server = "redis",
                .shape = 'A',
                .prepare =
                    [](const fs::path& directory) {
                      return Words{"redis-server", "--port", "6379", "--bind", "127.0.0.1",
                                   "::1",          "--save", "",     "--dir",  directory};
                    },
                .groups = {{"tcp/127.0.0.1:6379", 2}, {"tcp/[::1]:6379", 2}},
                .client = "for server in 127.0.0.1 ::1; do for i in $(seq $FLOWS); do"
                          " redis-cli -h $server ping; done; done"});
  }
}

}  // namespace
}  // namespace subset::test
