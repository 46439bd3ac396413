// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/system/harness/process.h"

namespace subset::test {

struct UdpServerOptions {
  uint32_t id = 0;  // what it answers with
  std::vector<std::string> addresses;
  Environment environment;
  bool reuse = false;  // sets SO_REUSEADDR and SO_REUSEPORT by itself
  std::optional<uid_t> user;
  int network = -1;
  int passed = -1;           // a socket that it serves too, passed on the way systemd does
  std::string on_usr1 = {};  // what it does to its socket at SIGUSR1
  bool late = false;         // has the default receive buffer, and reads from SIGUSR1 on
  std::string from;          // a path at which somebody sends it a socket to serve
};

// The little server tests/system/servers/udp_server.cpp.
class UdpServer {
 public:
  // What it says of one flow.
  struct Flow {
    uint32_t count = 0;
    uint32_t disorder = 0;
  };

  // Bound when it returns; throws if it cannot.
  UdpServer(Machine& machine, const UdpServerOptions& options);

  uint32_t id() const { return id_; }
  Process& process() { return process_; }
  // Everything that came, by flow; ends the server.
  std::map<uint32_t, Flow> report();

 private:
  uint32_t id_;
  std::filesystem::path report_;
  Process process_;
};

// The command line, for those that run it through something else.
std::vector<std::string> udp_server_command(uint32_t id, const std::vector<std::string>& addresses);

class DaemonProcess;

// Instances 0/N … N-1/N at one address, each with its instance as id.
std::vector<UdpServer> start_instances(Machine& machine, const DaemonProcess& daemon,
                                       uint32_t total, const std::string& address);

}  // namespace subset::test
