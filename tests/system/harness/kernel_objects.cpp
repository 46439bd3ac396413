// SPDX-License-Identifier: MIT
#include "tests/system/harness/kernel_objects.h"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "tests/system/harness/clock.h"
#include "tests/system/harness/process.h"

namespace subset::test {
namespace fs = std::filesystem;

namespace {

constexpr char kMap[] = "map_id:";
constexpr char kProgram[] = "prog_id:";

}  // namespace

fs::path shared_pin(const DaemonProcess& daemon, const std::string& name) {
  for (const auto& layout : fs::directory_iterator(daemon.pins())) return layout.path() / name;
  throw std::runtime_error("there are no pins in " + daemon.pins());
}

std::vector<fs::path> group_pins(const DaemonProcess& daemon) {
  std::vector<fs::path> groups;
  for (const auto& layout : fs::directory_iterator(daemon.pins())) {
    for (const auto& entry : fs::directory_iterator(layout.path()))
      if (entry.path().filename().string().starts_with("group-")) groups.push_back(entry.path());
  }
  return groups;
}

void KernelObjects::note() {
  maps_seen_.merge(open_ones(kMap));
  programs_seen_.merge(open_ones(kProgram));
}

std::string KernelObjects::leftover(size_t groups) const {
  std::string left;
  eventually([&] {
    left = left_now(groups);
    return left.empty();
  });
  return left;
}

std::string KernelObjects::left_now(size_t groups) const {
  const auto open_programs = open_ones(kProgram);
  const auto open_maps = open_ones(kMap);
  const auto maps = objects("map");
  std::string left;
  size_t attached = 0;
  std::set<uint32_t> used;
  for (const auto& [id, program] : objects("prog")) {
    if (!is_ours(id, program) || open_programs.contains(id)) continue;
    if (program.name != "enter") left += " program " + program.name;
    if (program.name == "enter") attached++;
    used.insert(program.maps.begin(), program.maps.end());
  }
  if (attached > groups) left += " " + std::to_string(attached) + " programs enter";
  for (const uint32_t id : maps_seen_) {
    const auto there = maps.find(id);
    if (there != maps.end() && !open_maps.contains(id) && !used.contains(id))
      left += " map " + there->second.name;
  }
  return left;
}

// Of the machine, as bpftool shows them.
std::map<uint32_t, KernelObjects::Object> KernelObjects::objects(const char* what) const {
  const Finished finished = run(machine_, {.argv = {"bpftool", "-j", what, "list"}});
  std::map<uint32_t, Object> found;
  for (const auto& each : nlohmann::json::parse(finished.out)) {
    found[each.at("id").get<uint32_t>()] = {.name = each.value("name", ""),
                                            .maps = each.value("map_ids", std::vector<uint32_t>{})};
  }
  return found;
}

// Ids behind the daemon's descriptors.
std::set<uint32_t> KernelObjects::open_ones(const char* kind) const {
  std::set<uint32_t> ids;
  const std::string descriptors = "/proc/" + std::to_string(daemon_.pid()) + "/fdinfo";
  for (const auto& entry : std::filesystem::directory_iterator(descriptors)) {
    for (const std::string& line : lines_with(read_file(entry.path()), kind))
      ids.insert(static_cast<uint32_t>(std::stoul(line.substr(std::string(kind).size()))));
  }
  return ids;
}

// Seen, or loaded after the last look at a daemon that was killed: then a map of it was seen.
bool KernelObjects::is_ours(uint32_t id, const Object& program) const {
  return programs_seen_.contains(id) ||
         std::ranges::any_of(program.maps, [&](uint32_t map) { return maps_seen_.contains(map); });
}

}  // namespace subset::test
