// SPDX-License-Identifier: MIT
#include "daemon/kernel/topology.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "daemon/model/cpulist.h"

namespace subset::kernel {
namespace {

CpuSet read_cpulist(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return parse_cpulist(text);
}

}  // namespace

Topology read_topology(const std::string& root) {
  const std::string system = root + "/sys/devices/system";
  Topology topology;
  topology.online = read_cpulist(system + "/cpu/online");
  if (topology.online.empty()) {
    const long count = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
    for (long cpu = 0; cpu < count; cpu++) topology.online.add(static_cast<uint32_t>(cpu));
  }
  // Rows for all that may come online later.
  CpuSet possible = read_cpulist(system + "/cpu/possible");
  if (possible.empty()) possible = topology.online;
  const uint32_t highest = std::max(possible.list().back(), topology.online.list().back());
  topology.node_of_cpu.assign(std::min<uint32_t>(highest + 1, 1024), 0);
  for (uint32_t node : read_cpulist(system + "/node/online").list()) {
    const std::string list = system + "/node/node" + std::to_string(node) + "/cpulist";
    for (uint32_t cpu : read_cpulist(list).list()) {
      if (cpu < topology.node_of_cpu.size())
        topology.node_of_cpu[cpu] = static_cast<uint16_t>(node);
    }
    topology.nodes = std::max(topology.nodes, node + 1);
  }
  return topology;
}

}  // namespace subset::kernel
