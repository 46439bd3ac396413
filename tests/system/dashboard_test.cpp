// SPDX-License-Identifier: MIT
// The dashboard in headless Chromium: what the daemon serves, as a browser shows it.
//
// Here are the daemon, the servers and the load; tests/browser/dashboard.py drives the browser, and
// is who kills a member, drains another and kills the daemon, since the page is held to a time for
// showing it. It asks for the daemon's return by a line on its standard output. Everything is in
// namespaces of its own: root's Chromium runs without a sandbox, but sees nothing of the machine's
// network. Pictures are left in <build>/screenshots.
#include <chrono>
#include <filesystem>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/tcp_server.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kHttp[] = "127.0.0.1:9753";

TEST_SUITE("system") {
  TEST_CASE("the page shows what happens, and recovers") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, kHttp);
    auto servers = start_instances(machine, daemon, 4, kAddress);
    auto others =
        start_tcp_instances(machine, daemon.socket(),
                            {.total = 2, .address = kAddress, .environment = {}, .arguments = {}});
    UdpFlows flows(kAddress, 100);
    PacedLoad load(flows, 20ms);

    Process browser(
        machine, {.argv = {"/usr/bin/python3", source("tests/browser/dashboard.py"),
                           std::string("http://") + kHttp + "/", std::to_string(daemon.pid()),
                           machine.file("."), built("screenshots"), "env",
                           "SUBSET_SOCKET=" + daemon.socket(), built("ctl/subset")},
                  .environment = {{"HOME", machine.file(".")}, {"PYTHONDONTWRITEBYTECODE", "1"}}});
    if (browser.wrote("the daemon is gone", 60s)) {
      daemon.kill9();
      daemon.start();
    }
    const auto status = browser.wait(30s);
    MESSAGE(browser.out());
    INFO(browser.err());
    CHECK(status == 0);
    load.stop();
  }
}

}  // namespace
}  // namespace subset::test
