// SPDX-License-Identifier: MIT
#include "tests/system/harness/udp_server.h"

#include <csignal>
#include <fstream>
#include <stdexcept>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

Command make_command(const UdpServerOptions& options, const std::string& report) {
  Command command{.argv = udp_server_command(options.id, options.addresses),
                  .environment = options.environment,
                  .user = options.user,
                  .network = options.network,
                  .listener = options.passed};
  command.argv.insert(command.argv.end(), {"--report", report});
  if (options.reuse) command.argv.emplace_back("--reuse");
  if (options.late) command.argv.emplace_back("--late");
  if (options.passed >= 0) command.argv.emplace_back("--passed");
  if (!options.on_usr1.empty())
    command.argv.insert(command.argv.end(), {"--on-usr1", options.on_usr1});
  if (!options.from.empty()) command.argv.insert(command.argv.end(), {"--from", options.from});
  return command;
}

}  // namespace

UdpServer::UdpServer(Machine& machine, const UdpServerOptions& options)
    : id_(options.id),
      report_(machine.file(machine.unique("report"))),
      process_(machine, make_command(options, report_)) {
  if (!process_.wrote("ready")) throw std::runtime_error("no server: " + process_.err());
}

std::map<uint32_t, UdpServer::Flow> UdpServer::report() {
  process_.signal(SIGTERM);
  if (process_.wait() != 0) throw std::runtime_error("the server failed: " + process_.err());
  std::map<uint32_t, Flow> flows;
  std::ifstream lines(report_);
  uint32_t flow = 0;
  Flow seen;
  while (lines >> flow >> seen.count >> seen.disorder) flows[flow] = seen;
  return flows;
}

std::vector<std::string> udp_server_command(uint32_t id,
                                            const std::vector<std::string>& addresses) {
  std::vector<std::string> argv{built("tests/system/udp_server"), "--id", std::to_string(id)};
  argv.insert(argv.end(), addresses.begin(), addresses.end());
  return argv;
}

std::vector<UdpServer> start_instances(Machine& machine, const DaemonProcess& daemon,
                                       uint32_t total, const std::string& address) {
  std::vector<UdpServer> servers;
  for (uint32_t i = 0; i < total; i++) {
    std::string share = std::to_string(i) + "/" + std::to_string(total);
    servers.emplace_back(
        machine, UdpServerOptions{
                     .id = i, .addresses = {address}, .environment = daemon.environment(share)});
  }
  return servers;
}

}  // namespace subset::test
