// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"

namespace subset::test {

struct TcpServerOptions {
  uint32_t id = 0;  // what it says
  std::string address;
  Environment environment;
  std::vector<std::string> arguments;  // --keep, --greeted
  std::optional<uid_t> user;
};

// The little server tests/system/servers/tcp_server.cpp.
class TcpServer {
 public:
  // Listens when it returns; throws if it cannot.
  TcpServer(Machine& machine, const TcpServerOptions& options);

  uint32_t id() const { return id_; }
  Process& process() { return process_; }

 private:
  uint32_t id_;
  Process process_;
};

// How servers that are instances 0/N … N-1/N are to run; each has its instance as id.
struct TcpInstances {
  uint32_t total = 0;
  std::string address;
  Environment environment;             // beside the share
  std::vector<std::string> arguments;  // --keep, --greeted
};

TcpServer start_tcp_instance(Machine& machine, const std::string& socket, uint32_t instance,
                             const TcpInstances& how);
std::vector<TcpServer> start_tcp_instances(Machine& machine, const std::string& socket,
                                           const TcpInstances& how);

}  // namespace subset::test
