// SPDX-License-Identifier: MIT
// What is shown is the truth: the same sums wherever one looks, and the numbers that the kernel's
// own tool shows for the same sockets.
//
// Three parties count the same datagrams: the load generator those it sent, the servers those they
// read, the eBPF program those it steered. A datagram is sent on only when an earlier one of its
// flow is answered, so none is lost to a full queue, and all three must agree to the last one. On
// the way there, each document is checked as it comes: parse_status() holds it to the schema and to
// `selected` = home + alternative, so a look that tore a sum apart would fail here.
//
// The queues are looked at where they stand still: the servers are stopped, their queues are filled
// until they overflow, and then `ss` and the daemon must say the same bytes and drops, or the same
// backlog.
#include <atomic>
#include <csignal>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/http.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/tcp_client.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kHttp[] = "127.0.0.1:9753";
constexpr char kAddress[] = "127.0.0.1:5353";
constexpr char kGroup[] = "udp/127.0.0.1:5353";

std::vector<UdpServer> start_servers(Machine& machine, const DaemonProcess& daemon,
                                     uint32_t total) {
  std::vector<UdpServer> servers;
  for (uint32_t i = 0; i < total; i++) {
    const std::string share = std::to_string(i) + "/" + std::to_string(total);
    servers.emplace_back(
        machine, UdpServerOptions{
                     .id = i, .addresses = {kAddress}, .environment = daemon.environment(share)});
  }
  return servers;
}

std::string labels(uint32_t instance) {
  return std::string("{group=\"") + kGroup + "\",instance=\"" + std::to_string(instance) +
         "\",member=\"0\"}";
}

// `ss` shows a socket in two lines; the second has skmem:(r<queue>,rb<limit>,...,d<drops>).
struct Shown {
  uint64_t receive_queue = 0;  // Recv-Q, Send-Q: of a listener its backlog and the limit
  uint64_t send_queue = 0;
  uint64_t bytes = 0;
  uint64_t limit = 0;
  uint64_t drops = 0;
};

uint64_t number_behind(const std::string& text, const std::string& mark) {
  const size_t at = text.find(mark);
  REQUIRE_MESSAGE(at != std::string::npos, text);
  return std::stoull(text.substr(at + mark.size()));
}

Shown shown_by_ss(Machine& machine, const std::string& options, uint64_t cookie) {
  const Finished ss = run(machine, {.argv = {"ss", "-nameHO" + options}});
  REQUIRE_MESSAGE(ss.status == 0, ss.err);
  std::ostringstream mark;
  mark << "sk:" << std::hex << cookie << " ";
  const auto lines = lines_with(ss.out, mark.str());
  REQUIRE_MESSAGE(lines.size() == 1, mark.str() << " in " << ss.out);
  Shown shown;
  std::string state;
  std::istringstream(lines[0]) >> state >> shown.receive_queue >> shown.send_queue;
  shown.bytes = number_behind(lines[0], "skmem:(r");
  shown.limit = number_behind(lines[0], ",rb");
  shown.drops = number_behind(lines[0], ",d");
  return shown;
}

TEST_SUITE("system") {
  TEST_CASE("the sums agree under load, wherever one looks") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const Address http(kHttp);
    std::vector<UdpServer> servers = start_servers(machine, daemon, 4);
    UdpFlows flows(kAddress, 64);

    std::atomic<bool> over = false;
    std::atomic<int> looks = 0;
    std::string failure;
    std::thread watcher([&] {
      try {
        while (!over || looks == 0) {
          parse_status(http_get(http, "/api/v1/groups").body);
          (void)scrape(http);
          (void)daemon.status();
          looks++;
        }
      } catch (const std::exception& error) {
        failure = error.what();
      }
    });
    const bool all = flows.exchange(50);
    over = true;
    watcher.join();
    CHECK(all);
    CHECK_MESSAGE(failure.empty(), failure);
    CHECK(looks > 0);
    CHECK(flows.oddities() == 0);

    // The last sample may be a second old: the counters stand still now.
    std::this_thread::sleep_for(1100ms);
    const GroupStatus group = daemon.status().group(kGroup);
    const GroupStatus over_http = parse_status(http_get(http, "/api/v1/groups").body).group(kGroup);
    const auto samples = scrape(http);
    CHECK(flows.sent() == 64 * 50);
    CHECK(group.home + group.alternative + group.kernel + group.refused == flows.sent());
    uint64_t served = 0;
    for (UdpServer& server : servers) {
      uint64_t of_server = 0;
      for (const auto& [flow, report] : server.report()) of_server += report.count;
      served += of_server;
      REQUIRE(group.of(server.id()));
      CHECK(group.of(server.id())->selected == of_server);
      CHECK(over_http.of(server.id())->selected == of_server);
      CHECK(samples.at("subset_selected_total" + labels(server.id())) == of_server);
    }
    CHECK(served == flows.sent());
    double outcomes = 0;
    for (const char* outcome : {"home", "alternative", "kernel", "refused"})
      outcomes += samples.at(std::string("subset_selections_total{group=\"") + kGroup +
                             "\",outcome=\"" + outcome + "\"}");
    CHECK(outcomes == flows.sent());
    CHECK(samples.at("subset_registrations_total{result=\"joined\"}") == 4);
    CHECK(samples.at("subset_registration_seconds_count") == 4);
  }

  TEST_CASE("promtool finds nothing to complain of") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    std::vector<UdpServer> servers = start_servers(machine, daemon, 2);
    const Finished checked = run(machine, {.argv = {"sh", "-c",
                                                    std::string("curl -sSf http://") + kHttp +
                                                        "/metrics | promtool check metrics"}});
    CHECK_MESSAGE(checked.status == 0, checked.out << checked.err);
    CHECK(checked.out.empty());
    CHECK(checked.err.empty());
  }

  TEST_CASE("queue and drops are those that ss shows") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    std::vector<UdpServer> servers = start_servers(machine, daemon, 2);
    for (UdpServer& server : servers) server.process().signal(SIGSTOP);
    UdpFlows flows(kAddress, 32);
    // The servers have room for some 20,000 each.
    const auto overflow = [&] {
      const GroupStatus group = daemon.status().group(kGroup);
      return group.of(0)->drops > 0 && group.of(1)->drops > 0;
    };
    for (int rounds = 0; rounds < 8000 && (rounds % 500 > 0 || !overflow()); rounds++)
      flows.send_round();
    const auto samples = scrape(Address(kHttp));
    const Document status = daemon.status();
    for (uint32_t instance : {0u, 1u}) {
      const MemberStatus* member = status.group(kGroup).of(instance);
      REQUIRE(member);
      const Shown shown = shown_by_ss(machine, "u", member->cookie);
      CHECK(shown.bytes > 0);
      CHECK(shown.drops > 0);
      CHECK(member->queue_bytes == shown.bytes);
      CHECK(member->drops == shown.drops);
      CHECK(samples.at("subset_member_queue_bytes" + labels(instance)) == shown.bytes);
      CHECK(samples.at("subset_member_queue_limit_bytes" + labels(instance)) == shown.limit);
      CHECK(samples.at("subset_member_drops_total" + labels(instance)) == shown.drops);
    }
  }

  TEST_CASE("the backlog is the one that ss shows") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    const Address address("127.0.0.1:8080");
    std::vector<TcpServer> servers =
        start_tcp_instances(machine, daemon.socket(), {.total = 2, .address = "127.0.0.1:8080"});
    for (TcpServer& server : servers) server.process().signal(SIGSTOP);
    std::vector<TcpClient> clients;
    for (int i = 0; i < 20; i++) clients.emplace_back(address);
    const GroupStatus group = daemon.status().group("tcp/127.0.0.1:8080");
    uint64_t waiting = 0;
    for (uint32_t instance : {0u, 1u}) {
      const MemberStatus* member = group.of(instance);
      REQUIRE(member);
      const Shown shown = shown_by_ss(machine, "tl", member->cookie);
      CHECK(member->backlog == shown.receive_queue);
      CHECK(member->backlog_limit == shown.send_queue);
      waiting += member->backlog;
    }
    CHECK(waiting == clients.size());
  }

  TEST_CASE("a restart of the daemon takes no counter back") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    std::vector<UdpServer> servers = start_servers(machine, daemon, 2);
    UdpFlows flows(kAddress, 16);
    CHECK(flows.exchange(10));
    const auto before = scrape(Address(kHttp));
    daemon.stop();
    CHECK(flows.exchange(20));  // steering goes on
    daemon.start();
    const auto after = scrape(Address(kHttp));
    for (const auto& each : before) {
      const auto& [sample, value] = each;
      const bool of_group = sample.find("group=") != std::string::npos;
      if (!of_group || sample.find("_total{") == std::string::npos) continue;
      CAPTURE(each.first);
      REQUIRE(after.count(sample) == 1);
      CHECK(after.at(sample) >= value);
    }
    CHECK(after.at("subset_selected_total" + labels(0)) +
              after.at("subset_selected_total" + labels(1)) ==
          flows.sent());
  }

  TEST_CASE("a port in use is a clear line, and only fatal where it was asked for") {
    Machine machine;
    DaemonProcess first(machine, DaemonProcess::Listener::Own, kHttp);
    const Finished second =
        run(machine, {.argv = {built("daemon/subsetd"), "--socket", machine.file("other"),
                               "--pin-dir", std::string(kBpffs) + "/other", "--http", kHttp}});
    CHECK(second.status == 1);
    CHECK(second.err.find("127.0.0.1:9753: the port is in use; subsetd --http") !=
          std::string::npos);
  }

  // Where `subset run` runs the daemon: at the usual port if it is free, where it was told to, or
  // nowhere; and not at all, rather than without what was asked for.
  TEST_CASE("the daemon of `subset run` is seen where that says") {
    Machine machine;
    const auto start = [&](std::vector<std::string> options) {
      Command command{.argv = {built("ctl/subset"), "run", "-n", "1"}};
      command.argv.insert(command.argv.end(), options.begin(), options.end());
      for (const char* word : {"--", "sh", "-c", "echo started; exec sleep 100"})
        command.argv.emplace_back(word);
      return Process(machine, command);
    };
    const auto stop = [](Process& run) {
      run.signal(SIGTERM);
      CHECK(run.wait().has_value());
    };
    const auto page_of = [](Process& run) -> std::string {
      REQUIRE(eventually([&] { return !lines_with(run.out(), "started").empty(); }));
      const auto lines = lines_with(run.err(), "its dashboard is at http://");
      if (lines.empty()) return "";
      const std::string page = lines[0].substr(lines[0].find("http://") + 7);
      return page.substr(0, page.find('/'));
    };
    {
      Process run = start({});
      CHECK(page_of(run) == kHttp);
      CHECK(http_get(Address(kHttp), "/healthz").status == 200);
      stop(run);
    }
    {
      Process run = start({"--http", "127.0.0.1:0"});
      const std::string page = page_of(run);
      CHECK(page != kHttp);
      CHECK(http_get(Address(page), "/healthz").status == 200);

      Process second = start({"--socket", machine.file("other"), "--http", page});
      CHECK(second.wait() == 1);
      CHECK(second.err().find("the port is in use") != std::string::npos);
      CHECK(second.out().empty());
      stop(run);
    }
    {
      Process run = start({"--http", "off"});
      CHECK(page_of(run).empty());
      CHECK_THROWS(http_get(Address(kHttp), "/healthz"));
      stop(run);
    }
  }
}

}  // namespace
}  // namespace subset::test
