// SPDX-License-Identifier: MIT
#include "ctl/receive_queues.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "daemon/kernel/topology.h"

namespace subset::ctl {
namespace {

namespace fs = std::filesystem;

uint32_t digit_of(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
  return 0;
}

// The CPUs of a mask as the kernel writes it: hexadecimal, a comma after each 32 bits, the highest
// first.
void add_mask(const std::string& mask, std::set<uint32_t>& cpus) {
  uint32_t cpu = 0;
  for (auto c = mask.rbegin(); c != mask.rend(); ++c) {
    if (*c == ',') continue;
    for (uint32_t bit = 0; bit < 4; bit++) {
      if (digit_of(*c) >> bit & 1) cpus.insert(cpu + bit);
    }
    cpu += 4;
  }
}

Interface read_interface(const fs::path& directory) {
  Interface interface;
  interface.name = directory.filename();
  std::set<uint32_t> cpus;
  std::error_code none;
  for (const auto& queue : fs::directory_iterator(directory / "queues", none)) {
    if (!queue.path().filename().string().starts_with("rx-")) continue;
    interface.queues++;
    std::ifstream file(queue.path() / "rps_cpus");
    std::string mask;
    if (std::getline(file, mask)) add_mask(mask, cpus);
  }
  interface.rps_cpus = static_cast<uint32_t>(cpus.size());
  return interface;
}

bool by_cpu(const GroupView& group) {
  return group.mode == "cpu" || group.mode == "numa";
}

bool is_loopback(const std::string& id) {
  return id.find("/127.") != std::string::npos || id.find("/[::1]:") != std::string::npos;
}

// The daemon's namespace shows in no id, others do.
bool is_elsewhere(const std::string& id) {
  return id.find('@') != std::string::npos;
}

std::string warning(const GroupView& group, const std::string& what, const std::string& remedy) {
  return "warning: " + group.id + " in " + group.mode + " mode: " + what + "; " + remedy + "\n";
}

std::string plural(uint64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace

std::vector<Interface> read_interfaces(const std::string& root) {
  std::vector<Interface> interfaces;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(root + "/sys/class/net", none)) {
    std::error_code missing;
    if (!fs::exists(entry.path() / "device", missing)) continue;
    Interface interface = read_interface(entry.path());
    if (interface.queues > 0) interfaces.push_back(std::move(interface));
  }
  std::ranges::sort(interfaces, {}, &Interface::name);
  return interfaces;
}

// With RPS on it is RPS's CPUs that count: they have to be enough, and where the queues would do
// alone, RPS only costs.
Shortcoming shortcoming_of(const Interface& interface, uint64_t instances) {
  const std::string& name = interface.name;
  const std::string set_queues = "ethtool -L " + name + " combined " + std::to_string(instances);
  const std::string rps = "/sys/class/net/" + name + "/queues/rx-*/rps_cpus";
  if (interface.rps_cpus > 0 && interface.queues >= instances)
    return {"RPS moves the packets of " + name + " away from the CPUs of its " +
                plural(interface.queues, "receive queue"),
            "turn it off: write 0 to " + rps};
  if (interface.rps_cpus >= instances || interface.queues >= instances) return {};
  if (interface.rps_cpus > 0)
    return {"RPS spreads the packets of " + name + " over " + plural(interface.rps_cpus, "CPU") +
                ", for " + plural(instances, "instance"),
            "set more queues (" + set_queues + ") or a wider mask in " + rps};
  return {name + " has " + plural(interface.queues, "receive queue") + " for " +
              plural(instances, "instance"),
          "set more (" + set_queues + "), or a mask of CPUs in " + rps};
}

std::string render_locality(const std::vector<GroupView>& groups,
                            const std::vector<Interface>& interfaces) {
  std::string text;
  for (const GroupView& group : groups) {
    if (!by_cpu(group) || is_elsewhere(group.id)) continue;
    if (is_loopback(group.id)) {
      text += warning(group, "clients on this host choose the CPU by where they run",
                      "use hash, or least for TCP");
      continue;
    }
    for (const Interface& interface : interfaces) {
      const auto [what, remedy] = shortcoming_of(interface, group.total.value_or(1));
      if (!what.empty()) text += warning(group, what, remedy);
    }
  }
  return text;
}

Finding check_receive_queues(const std::string& root) {
  const uint32_t cpus = kernel::read_topology(root).online.count();
  Finding finding{
      .level = Level::Ok, .name = "receive queues", .found = {}, .cost = {}, .remedy = {}};
  for (const Interface& interface : read_interfaces(root)) {
    if (!finding.found.empty()) finding.found += ", ";
    finding.found += interface.name + " " + std::to_string(interface.queues);
    const auto [what, remedy] = shortcoming_of(interface, cpus);
    if (what.empty() || finding.level == Level::Warn) continue;
    finding.level = Level::Warn;
    finding.cost = "cpu mode with an instance for each of " + plural(cpus, "CPU") + ": " + what;
    finding.remedy = remedy;
  }
  if (finding.found.empty()) finding.found = "no network card; cpu mode needs clients from outside";
  return finding;
}

}  // namespace subset::ctl
