// SPDX-License-Identifier: MIT
#include "tests/system/harness/tcp_server.h"

#include <stdexcept>

#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

Command make_command(const TcpServerOptions& options) {
  Command command{.argv = {built("tests/system/tcp_server"), "--id", std::to_string(options.id)},
                  .environment = options.environment,
                  .user = options.user};
  command.argv.insert(command.argv.end(), options.arguments.begin(), options.arguments.end());
  command.argv.push_back(options.address);
  return command;
}

}  // namespace

TcpServer::TcpServer(Machine& machine, const TcpServerOptions& options)
    : id_(options.id), process_(machine, make_command(options)) {
  if (!process_.wrote("ready")) throw std::runtime_error("no server: " + process_.err());
}

TcpServer start_tcp_instance(Machine& machine, const std::string& socket, uint32_t instance,
                             const TcpInstances& how) {
  Environment environment =
      shim_environment(socket, std::to_string(instance) + "/" + std::to_string(how.total));
  environment.insert(how.environment.begin(), how.environment.end());
  return TcpServer(machine, {.id = instance,
                             .address = how.address,
                             .environment = environment,
                             .arguments = how.arguments});
}

std::vector<TcpServer> start_tcp_instances(Machine& machine, const std::string& socket,
                                           const TcpInstances& how) {
  std::vector<TcpServer> servers;
  for (uint32_t i = 0; i < how.total; i++)
    servers.push_back(start_tcp_instance(machine, socket, i, how));
  return servers;
}

}  // namespace subset::test
