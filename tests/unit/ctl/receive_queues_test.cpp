// SPDX-License-Identifier: MIT
#include "ctl/receive_queues.h"

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <doctest/doctest.h>

namespace subset::ctl {
namespace {

namespace fs = std::filesystem;

// A /sys of other machines.
class Sys {
 public:
  Sys() {
    std::string name = fs::temp_directory_path() / "subset-queues-XXXXXX";
    if (!mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
    root_ = name;
    write("devices/system/cpu/online", "0-3");
    write("devices/system/cpu/possible", "0-3");
  }
  ~Sys() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
  }
  Sys(const Sys&) = delete;
  Sys& operator=(const Sys&) = delete;

  std::string root() const { return root_; }
  void write(const std::string& file, const std::string& text) {
    const fs::path path = root_ / "sys" / file;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }
  // A mask for each queue.
  void card(const std::string& name, const std::vector<std::string>& masks) {
    write("class/net/" + name + "/device/vendor", "0x1af4");
    link(name, masks);
  }
  void link(const std::string& name, const std::vector<std::string>& masks) {
    for (size_t i = 0; i < masks.size(); i++) {
      write("class/net/" + name + "/queues/rx-" + std::to_string(i) + "/rps_cpus", masks[i]);
      write("class/net/" + name + "/queues/tx-" + std::to_string(i) + "/xps_cpus", "f");
    }
  }

 private:
  fs::path root_;
};

GroupView group(const std::string& id, const std::string& mode, uint64_t total) {
  GroupView view;
  view.id = id;
  view.mode = mode;
  view.total = total;
  return view;
}

TEST_CASE("network cards are read, with their queues and RPS masks; other links are not") {
  Sys sys;
  sys.card("eth1", {"00000000,00000000", "00000000,00000000"});
  sys.card("eth0", {"00000001,00000003", "4"});
  sys.link("lo", {"0"});
  sys.link("docker0", {"0"});
  const auto interfaces = read_interfaces(sys.root());
  REQUIRE(interfaces.size() == 2);
  CHECK(interfaces[0].name == "eth0");
  CHECK(interfaces[0].queues == 2);
  CHECK(interfaces[0].rps_cpus == 4);  // 0, 1, 2 and 32
  CHECK(interfaces[1].name == "eth1");
  CHECK(interfaces[1].queues == 2);
  CHECK(interfaces[1].rps_cpus == 0);
}

TEST_CASE("a machine without /sys has no cards") {
  CHECK(read_interfaces("/nonexistent").empty());
}

TEST_CASE("queues and RPS, for 4 instances") {
  CHECK(shortcoming_of({"eth0", 4, 0}, 4).what.empty());
  CHECK(shortcoming_of({"eth0", 1, 4}, 4).what.empty());

  const Shortcoming few = shortcoming_of({"eth0", 1, 0}, 4);
  CHECK(few.what == "eth0 has 1 receive queue for 4 instances");
  CHECK(few.remedy ==
        "set more (ethtool -L eth0 combined 4), or a mask of CPUs in "
        "/sys/class/net/eth0/queues/rx-*/rps_cpus");

  const Shortcoming narrow = shortcoming_of({"eth0", 1, 2}, 4);
  CHECK(narrow.what == "RPS spreads the packets of eth0 over 2 CPUs, for 4 instances");

  const Shortcoming needless = shortcoming_of({"eth0", 4, 4}, 4);
  CHECK(needless.what ==
        "RPS moves the packets of eth0 away from the CPUs of its 4 receive queues");
  CHECK(needless.remedy == "turn it off: write 0 to /sys/class/net/eth0/queues/rx-*/rps_cpus");
}

TEST_CASE("status warns about groups that follow the CPU, and about no others") {
  const std::vector<Interface> one_queue{{"eth0", 1, 0}};
  CHECK(render_locality({group("udp/0.0.0.0:53", "hash", 4)}, one_queue).empty());
  CHECK(render_locality({group("udp/0.0.0.0:53@4026531", "cpu", 4)}, one_queue).empty());
  CHECK(render_locality({group("udp/0.0.0.0:53", "cpu", 1)}, one_queue).empty());
  for (const char* mode : {"cpu", "numa"}) {
    const std::string text = render_locality({group("udp/0.0.0.0:53", mode, 4)}, one_queue);
    CHECK(text.starts_with("warning: udp/0.0.0.0:53 in "));
    CHECK(text.find("eth0 has 1 receive queue for 4 instances; set more") != std::string::npos);
    CHECK(text.ends_with("\n"));
  }
}

TEST_CASE("loopback: the client's CPU is all there is to follow") {
  for (const char* id : {"tcp/127.0.0.1:80", "tcp/[::1]:80", "udp/127.1.2.3:53"}) {
    const std::string text = render_locality({group(id, "cpu", 2)}, {{"eth0", 1, 0}});
    CHECK(text.find("clients on this host") != std::string::npos);
    CHECK(text.find("eth0") == std::string::npos);
  }
}

TEST_CASE("check compares with the CPUs") {
  Sys sys;
  CHECK(check_receive_queues(sys.root()).level == Level::Ok);
  sys.card("eth0", {"0", "0", "0", "0"});
  CHECK(check_receive_queues(sys.root()).level == Level::Ok);
  CHECK(check_receive_queues(sys.root()).found == "eth0 4");
  sys.card("eth1", {"0"});
  const Finding finding = check_receive_queues(sys.root());
  CHECK(finding.level == Level::Warn);
  CHECK(finding.found == "eth0 4, eth1 1");
  CHECK(finding.cost.find("eth1 has 1 receive queue for 4 instances") != std::string::npos);
  CHECK(finding.remedy.find("ethtool -L eth1 combined 4") != std::string::npos);
}

}  // namespace
}  // namespace subset::ctl
