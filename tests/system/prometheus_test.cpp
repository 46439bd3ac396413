// SPDX-License-Identifier: MIT
// A real Prometheus scrapes two daemons, each in a network namespace of its own, and is asked what
// it knows. One daemon serves on its loopback, as it does unless told otherwise; the other is told
// to serve on an address that the first network reaches over a pair of virtual cables, and warns of
// it.
//
// Prometheus keeps its own label `instance` for the target, so that ours comes out as
// `exported_instance`: the queries here are those that a user would write.
#include <fstream>
#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/http.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/network.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

using Json = nlohmann::json;

constexpr char kFirst[] = "127.0.0.1:9753";
constexpr char kSecond[] = "10.77.0.2:9753";
constexpr char kPrometheus[] = "127.0.0.1:9090";
constexpr char kServer[] = "127.0.0.1:5353";

void must(Machine& machine, std::vector<std::string> argv, int network = -1) {
  const Finished done = run(machine, {.argv = std::move(argv), .network = network});
  REQUIRE_MESSAGE(done.status == 0, done.err);
}

// A cable between this network and the other: 10.77.0.1 here, 10.77.0.2 there.
void lay_cable(Machine& machine, const OtherNetwork& other) {
  Process anchor(machine, {.argv = {"sleep", "60"}, .network = other.fd()});
  // The other end goes to the network of a process, and that is in it once it has been started.
  REQUIRE(eventually([&] {
    std::error_code error;
    return std::filesystem::read_symlink("/proc/" + std::to_string(anchor.pid()) + "/ns/net",
                                         error) == "net:[" + std::to_string(other.inode()) + "]";
  }));
  must(machine, {"ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns",
                 std::to_string(anchor.pid())});
  must(machine, {"ip", "address", "add", "10.77.0.1/24", "dev", "cable0"});
  must(machine, {"ip", "link", "set", "cable0", "up"});
  must(machine, {"ip", "address", "add", "10.77.0.2/24", "dev", "cable1"}, other.fd());
  must(machine, {"ip", "link", "set", "cable1", "up"}, other.fd());
}

Process start_prometheus(Machine& machine) {
  const auto config = machine.file("prometheus.yml");
  std::ofstream(config) << "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                        << "scrape_configs:\n- job_name: subset\n  static_configs:\n"
                        << "  - targets: ['" << kFirst << "', '" << kSecond << "']\n";
  return {machine,
          {.argv = {"prometheus", "--config.file=" + config.string(),
                    "--storage.tsdb.path=" + machine.file("tsdb").string(),
                    std::string("--web.listen-address=") + kPrometheus, "--log.level=warn"}}};
}

// The one number that a query gives; empty while there is none, or more.
std::optional<double> query(const std::string& encoded) {
  try {
    const auto answer = http_get(Address(kPrometheus), "/api/v1/query?query=" + encoded);
    if (answer.status != 200) return std::nullopt;
    const Json result = Json::parse(answer.body).at("data").at("result");
    if (result.size() != 1) return std::nullopt;
    return std::stod(result[0].at("value")[1].get<std::string>());
  } catch (const std::system_error&) {
    return std::nullopt;  // it does not listen yet
  }
}

UdpServer start_server(Machine& machine, const DaemonProcess& daemon, int network = -1) {
  return UdpServer(machine, {.id = 0,
                             .addresses = {kServer},
                             .environment = daemon.environment("0/2"),
                             .network = network});
}

TEST_SUITE("system") {
  TEST_CASE("a Prometheus scrapes two daemons in two networks") {
    Machine machine;
    OtherNetwork other;
    lay_cable(machine, other);
    DaemonProcess first(machine, DaemonProcess::Listener::Own, kFirst);
    std::optional<DaemonProcess> second;
    other.run([&] { second.emplace(machine, DaemonProcess::Listener::Own, kSecond); });
    CHECK(second->err().find("is no loopback address") != std::string::npos);
    CHECK(first.err().find("is no loopback address") == std::string::npos);
    const UdpServer here = start_server(machine, first);
    const UdpServer there = start_server(machine, *second, other.fd());
    UdpFlows flows(kServer, 8);
    CHECK(flows.exchange(5));
    other.run([&] {
      UdpFlows others(kServer, 8);
      CHECK(others.exchange(7));
    });

    const Process prometheus = start_prometheus(machine);
    const auto becomes = [&](const std::string& encoded, double value) {
      std::optional<double> last;
      const bool so = eventually(
          [&] {
            last = query(encoded);
            return last == value;
          },
          30s);
      CHECK_MESSAGE(so, encoded << " is " << last.value_or(-1) << "\n" << prometheus.err());
    };
    becomes("sum(up)", 2);
    becomes("sum(subset_selected_total%7Binstance=%22127.0.0.1:9753%22%7D)", 8 * 5);
    becomes("sum(subset_selected_total%7Binstance=%2210.77.0.2:9753%22%7D)", 8 * 7);
    becomes("sum(subset_selections_total)", 8 * 12);
    becomes("count(count%20by%20(exported_instance)(subset_selected_total))", 1);
    becomes("count(subset_build_info)", 2);
    // One instance of two is missing in each: what an alert would look at.
    becomes("count(subset_group_active_instances%20%3C%20subset_group_total)", 2);
    CHECK(prometheus.err().find("Error on ingesting") == std::string::npos);
  }
}

}  // namespace
}  // namespace subset::test
