// SPDX-License-Identifier: MIT
// The reader of /sys, fed with trees of other machines.
#include "daemon/kernel/topology.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include "daemon/model/cpulist.h"

namespace subset::kernel {
namespace {

namespace fs = std::filesystem;

// A directory that stands for "/", gone at the end.
class Tree {
 public:
  Tree() {
    std::string name = fs::temp_directory_path() / "topology-XXXXXX";
    if (!mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
    root_ = name;
  }
  ~Tree() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  std::string root() const { return root_; }
  Tree& write(const std::string& name, const std::string& text) {
    const fs::path path = root_ / "sys/devices/system" / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
    return *this;
  }
  Tree& node(uint32_t number, const std::string& cpulist) {
    return write("node/node" + std::to_string(number) + "/cpulist", cpulist);
  }

 private:
  fs::path root_;
};

TEST_CASE("two nodes, with CPUs in turn as many boards number them") {
  Tree tree;
  tree.write("cpu/online", "0-7").write("cpu/possible", "0-7").write("node/online", "0-1");
  tree.node(0, "0,2,4,6").node(1, "1,3,5,7");
  const Topology topology = read_topology(tree.root());
  CHECK(topology.online.count() == 8);
  CHECK(topology.cpus() == 8);
  CHECK(topology.nodes == 2);
  for (uint32_t cpu = 0; cpu < 8; cpu++) CHECK(topology.node_of_cpu[cpu] == cpu % 2);
}

TEST_CASE("eight nodes, hyperthreads at the end") {
  Tree tree;
  tree.write("cpu/online", "0-127").write("cpu/possible", "0-127").write("node/online", "0-7");
  for (uint32_t node = 0; node < 8; node++) {
    const auto range = [&](uint32_t first) {
      return std::to_string(first) + "-" + std::to_string(first + 7);
    };
    tree.node(node, range(node * 8) + "," + range(64 + node * 8));
  }
  const Topology topology = read_topology(tree.root());
  CHECK(topology.cpus() == 128);
  CHECK(topology.nodes == 8);
  for (uint32_t cpu = 0; cpu < 128; cpu++) CHECK(topology.node_of_cpu[cpu] == cpu % 64 / 8);
}

TEST_CASE("CPUs that are offline, and those that may be plugged in, have their place") {
  Tree tree;
  tree.write("cpu/online", "0,2-3").write("cpu/possible", "0-7").write("node/online", "0");
  tree.node(0, "0,2-3");
  const Topology topology = read_topology(tree.root());
  CHECK(topology.online == parse_cpulist("0,2-3"));
  CHECK(topology.cpus() == 8);
  CHECK(topology.nodes == 1);
}

// Memory-only nodes and nodes that are missing leave gaps.
TEST_CASE("nodes with gaps between them") {
  Tree tree;
  tree.write("cpu/online", "0-3").write("cpu/possible", "0-3").write("node/online", "0,2,8");
  tree.node(0, "0-1").node(2, "").node(8, "2-3");
  const Topology topology = read_topology(tree.root());
  CHECK(topology.nodes == 9);
  CHECK(topology.node_of_cpu == std::vector<uint16_t>{0, 0, 8, 8});
}

TEST_CASE("a kernel without NUMA is one node") {
  Tree tree;
  tree.write("cpu/online", "0-3").write("cpu/possible", "0-3");
  const Topology topology = read_topology(tree.root());
  CHECK(topology.nodes == 1);
  CHECK(topology.node_of_cpu == std::vector<uint16_t>(4, 0));
}

TEST_CASE("where nothing can be read the CPUs of this machine are one node") {
  Tree tree;
  const Topology topology = read_topology(tree.root());
  CHECK(topology.online.count() == sysconf(_SC_NPROCESSORS_ONLN));
  CHECK(topology.nodes == 1);
}

TEST_CASE("a node that lists a CPU that cannot be is bounded by those that can") {
  Tree tree;
  tree.write("cpu/online", "0-1").write("cpu/possible", "0-1").write("node/online", "0-1");
  tree.node(0, "0").node(1, "1,77");
  const Topology topology = read_topology(tree.root());
  CHECK(topology.node_of_cpu == std::vector<uint16_t>{0, 1});
}

TEST_CASE("the real machine") {
  const Topology topology = read_topology();
  CHECK(!topology.online.empty());
  CHECK(topology.cpus() >= topology.online.list().back() + 1);
  for (uint16_t node : topology.node_of_cpu) CHECK(node < topology.nodes);
}

}  // namespace
}  // namespace subset::kernel
