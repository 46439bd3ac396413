// SPDX-License-Identifier: MIT
#include "tests/system/harness/real_servers.h"

#include <csignal>
#include <fstream>
#include <stdexcept>

#include <doctest/doctest.h>

#include "tests/system/harness/sandbox.h"

namespace subset::test {

std::vector<std::string> dnsmasq_command(uint16_t port) {
  return {"dnsmasq",
          "--keep-in-foreground",
          "--port=" + std::to_string(port),
          "--listen-address=127.0.0.1",
          "--bind-interfaces",
          "--conf-file=/dev/null",
          "--no-resolv",
          "--no-hosts",
          "--address=/#/192.0.2.1",
          "--pid-file=",
          "--log-facility=-"};
}

std::vector<std::string> nginx_command(Machine& machine, const std::string& listen) {
  const std::string path = machine.file(machine.unique("nginx.conf"));
  const std::string directory = machine.file("");
  std::ofstream(path) << "worker_processes 1; daemon off; error_log /dev/null;\n"
                      << "events { worker_connections 512; }\n"
                      << "http { access_log off;\n"
                      << "client_body_temp_path " << directory << "a;\n"
                      << "proxy_temp_path " << directory << "b;\n"
                      << "fastcgi_temp_path " << directory << "c;\n"
                      << "uwsgi_temp_path " << directory << "d;\n"
                      << "scgi_temp_path " << directory << "e;\n"
                      << "server { listen " << listen << ";\n"
                      << "location / { return 200 \"well\"; } } }\n";
  return {"/usr/sbin/nginx", "-c", path, "-g", "pid " + directory + "pid.{i};"};
}

std::vector<std::string> numbered(std::vector<std::string> command, uint32_t number) {
  for (std::string& word : command) {
    if (const size_t place = word.find("{i}"); place != std::string::npos)
      word.replace(place, 3, std::to_string(number));
  }
  return command;
}

Command run_command(const DaemonProcess& daemon, uint32_t copies,
                    const std::vector<std::string>& server,
                    const std::vector<std::string>& options) {
  Command command{.argv = {built("ctl/subset"), "run", "-n", std::to_string(copies)},
                  .environment = {{"SUBSET_SOCKET", daemon.socket()}}};
  command.argv.insert(command.argv.end(), options.begin(), options.end());
  command.argv.emplace_back("--");
  command.argv.insert(command.argv.end(), server.begin(), server.end());
  return command;
}

size_t rolls_done(const Process& run) {
  return lines_with(run.err(), "rolling restart: done").size();
}

void roll(const Process& run, int times) {
  for (int i = 0; i < times; i++) {
    const size_t before = rolls_done(run);
    run.signal(SIGHUP);
    const bool done = eventually([&] { return !run.alive() || rolls_done(run) > before; }, 60s);
    if (!done || !run.alive()) throw std::runtime_error("a roll does not end: " + run.err());
  }
}

void tell_outcome(const std::string& how, const DnsLoad::Outcome& dns,
                  const HttpLoad::Outcome& http) {
  MESSAGE(how, ": ", dns.sent, " questions (", static_cast<int>(dns.rate), "/s), ", dns.lost(),
          " lost, slowest ", dns.slowest.count(), " ms; ", http.made, " connections (",
          static_cast<int>(http.rate), "/s), ", http.resets, " reset, ", http.refused, " refused, ",
          http.timeouts, " timeouts, ", http.other, " otherwise failed, slowest ",
          http.slowest.count(), " ms");
}

void check_nothing_lost(const DnsLoad::Outcome& dns, const HttpLoad::Outcome& http) {
  CHECK(dns.answered == dns.sent);
  CHECK(dns.oddities == 0);
  CHECK(http.answered == http.made);
  CHECK(http.resets == 0);
  CHECK(http.timeouts == 0);
  CHECK(http.refused + http.other == 0);
}

}  // namespace subset::test
