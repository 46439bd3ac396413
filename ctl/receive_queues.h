// SPDX-License-Identifier: MIT
// Where cpu and numa mode cannot help: they follow the CPU on which a packet arrives, so packets
// have to arrive on the CPUs of all instances. Which those are is decided by the receive queues of
// the network cards, and by RPS, which moves packets on from there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/check.h"
#include "ctl/status.h"

namespace subset::ctl {

struct Interface {
  std::string name;
  uint32_t queues = 0;    // receive queues
  uint32_t rps_cpus = 0;  // CPUs that RPS moves packets to; 0: RPS is off
};

// Network cards, real or a virtual machine's, by name; bridges and tunnels pass on what those
// received. From /sys/class/net below `root`.
std::vector<Interface> read_interfaces(const std::string& root);

// What is wrong with an interface for so many instances, and what to do; both empty if all is well.
struct Shortcoming {
  std::string what, remedy;
};
Shortcoming shortcoming_of(const Interface& interface, uint64_t instances);

// Lines for people, "warning: ..."; none for groups of other modes.
std::string render_locality(const std::vector<GroupView>& groups,
                            const std::vector<Interface>& interfaces);

// Of the machine, as if there were an instance for each CPU.
Finding check_receive_queues(const std::string& root);

}  // namespace subset::ctl
