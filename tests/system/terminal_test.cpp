// SPDX-License-Identifier: MIT
// `subset top` and `subset events` as people use them.
//
// top has a real terminal here: tmux, with a server of its own for each case, draws what top writes
// onto a screen that can be read, types keys and changes the size. It is started by a shell that
// goes on afterwards, since half of what top must do is to leave the terminal as it found it: no
// alternate screen, a cursor, and a line discipline that echoes and collects lines.
#include <csignal>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/operator.h"
#include "tests/system/harness/process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:7000";
constexpr char kGroup[] = "udp/127.0.0.1:7000";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Terminal {
 public:
  // Runs a shell command; the shell stays when it has ended.
  Terminal(Machine& machine, const std::string& command)
      : machine_(machine), socket_(machine.file(machine.unique("tmux"))) {
    tmux({"-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "20",
          command + "; echo ended with $?; stty -a; exec sleep 1000"});
  }
  ~Terminal() {
    try {
      tmux({"kill-server"});
    } catch (const std::exception&) {  // it has ended already
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  std::string screen() const { return tmux({"capture-pane", "-p"}); }
  void type(const std::string& key) const { tmux({"send-keys", key}); }
  void resize(int columns, int rows) const {
    tmux({"resize-window", "-x", std::to_string(columns), "-y", std::to_string(rows)});
  }
  // A format of tmux, "#{cursor_flag}".
  std::string says(const std::string& format) const {
    return tmux({"display-message", "-p", format});
  }
  bool shows(const std::string& part) const {
    return eventually([&] { return contains(screen(), part); });
  }
  bool shows_no_more(const std::string& part) const {
    return eventually([&] { return !contains(screen(), part); });
  }

 private:
  std::string tmux(std::vector<std::string> words) const {
    words.insert(words.begin(), {"tmux", "-S", socket_});
    Finished finished =
        run(machine_,
            {.argv = words,
             .environment = {{"LC_ALL", "C.UTF-8"}, {"TERM", "xterm-256color"}, {"TMUX", ""}}});
    if (finished.status != 0) throw std::runtime_error("tmux: " + finished.err);
    return finished.out;
  }

  Machine& machine_;
  std::string socket_;
};

std::string top(const DaemonProcess& daemon, const std::string& options = "") {
  return built("ctl/subset").string() + " top --socket " + daemon.socket() + " --interval 0.2 " +
         options;
}

// The terminal is what it was.
void check_given_back(const Terminal& terminal) {
  REQUIRE(terminal.shows("ended with 0"));
  CHECK(terminal.shows(" icanon"));  // of stty, which comes after it
  CHECK(terminal.shows(" echo "));
  const std::string screen = terminal.screen();
  CHECK_FALSE(contains(screen, "RATE/S"));
  CHECK(terminal.says("#{alternate_on} #{cursor_flag}") == "0 1\n");
}

std::vector<size_t> order_of_instances(const std::string& screen) {
  std::vector<size_t> order;
  for (const std::string& line : lines_with(screen, kGroup))
    if (auto slash = line.find("/3  "); slash != std::string::npos && slash > 0)
      order.push_back(static_cast<size_t>(line[slash - 1] - '0'));
  return order;
}

TEST_SUITE("system") {
  TEST_CASE("top shows traffic, sorts, resizes and quits") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 3, kAddress);
    tell(daemon, kGroup, weight(2, 1000));
    UdpFlows flows(kAddress, 100);
    PacedLoad load(flows);

    Terminal terminal(machine, top(daemon));
    REQUIRE(terminal.shows("INSTANCE"));
    CHECK(eventually([&] { return contains(terminal.screen(), "k/s  drops 0/s"); }));
    CHECK(contains(terminal.screen(), "1 group  3 members"));
    CHECK(order_of_instances(terminal.screen()) == std::vector<size_t>{0, 1, 2});

    terminal.type("r");
    CHECK(eventually([&] {
      auto order = order_of_instances(terminal.screen());
      return !order.empty() && order.front() == 2;
    }));
    CHECK(terminal.shows("by rate"));
    terminal.type("g");
    CHECK(terminal.shows("GENERATION"));
    terminal.type("?");
    CHECK(terminal.shows("sort by open connections"));
    terminal.type("Escape");
    CHECK(terminal.shows("GENERATION"));
    terminal.type("g");

    CHECK(contains(terminal.screen(), "CPUS"));
    terminal.resize(80, 10);
    CHECK(terminal.shows_no_more("CPUS"));
    CHECK(terminal.shows("q end"));
    terminal.resize(140, 30);
    CHECK(terminal.shows("CPUS"));

    terminal.type("q");
    check_given_back(terminal);
    load.stop();
    CHECK(flows.oddities() == 0);
  }

  TEST_CASE("top outlives the daemon, and Ctrl-C gives the terminal back") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 3, kAddress);
    Terminal terminal(machine, top(daemon, "7000"));
    REQUIRE(terminal.shows("0/3"));
    daemon.kill9();
    CHECK(terminal.shows("as of"));
    CHECK(terminal.shows("no daemon at"));
    CHECK(contains(terminal.screen(), "0/3"));
    daemon.start();
    CHECK(terminal.shows_no_more("as of"));
    terminal.type("C-c");
    check_given_back(terminal);
  }

  TEST_CASE("status has colours on a terminal alone, and none that the user refused") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 3, kAddress);
    const std::string status = built("ctl/subset").string() + " status --socket " + daemon.socket();
    const auto colours = [&](const std::vector<std::string>& argv, const Environment& environment) {
      const Finished shown = run(machine, {.argv = argv, .environment = environment});
      CHECK(shown.status == 0);
      CHECK(contains(shown.out, kGroup));
      return contains(shown.out, "\x1b[");
    };
    const std::vector<std::string> on_a_terminal{"script", "-qec", status, "/dev/null"};
    CHECK(colours(on_a_terminal, {{"TERM", "xterm"}}));
    CHECK_FALSE(colours(on_a_terminal, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}));
    CHECK_FALSE(colours({"sh", "-c", status}, {{"TERM", "xterm"}}));
  }

  TEST_CASE("top without a terminal, or without a daemon, says what to do") {
    Machine machine;
    DaemonProcess daemon(machine);
    const std::string subset = built("ctl/subset");
    Finished blind = run(machine, {.argv = {subset, "top", "--socket", daemon.socket()}});
    CHECK(blind.status == 1);
    CHECK(contains(blind.err, "needs a terminal"));
    Finished alone = run(machine, {.argv = {subset, "top", "--socket", machine.file("nobody")}});
    CHECK(alone.status == 1);
    CHECK(contains(alone.err, "no daemon at"));
  }

  TEST_CASE("top --json: a line a look, with rates") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    UdpFlows flows(kAddress, 50);
    PacedLoad load(flows);
    Finished json = run(machine, {.argv = {built("ctl/subset"), "top", "--json", "--interval",
                                           "0.2", "--samples", "2", "--socket", daemon.socket()}});
    load.stop();
    CHECK(json.status == 0);
    CHECK(lines_with(json.out, "\"rate\":").size() == 2);
    CHECK_FALSE(contains(json.out, "\"rate\":null"));
  }

  TEST_CASE("events: what happens, a line each, over a restart of the daemon") {
    Machine machine;
    DaemonProcess daemon(machine);
    auto servers = start_instances(machine, daemon, 2, kAddress);
    const std::string subset = built("ctl/subset");
    Process lines(machine, {.argv = {subset, "events", "--follow", "--socket", daemon.socket()}});
    Process json(machine, {.argv = {subset, "events", "--json", "--socket", daemon.socket()}});
    Process other(machine, {.argv = {subset, "events", "tcp/", "--socket", daemon.socket()}});
    // Until they follow, nobody tells them.
    auto follows = [&] {
      tell(daemon, kGroup, weight(0, 200));
      return contains(lines.out(), "weighted") && contains(json.out(), "weighted");
    };
    REQUIRE(eventually(follows));

    tell(daemon, kGroup, drain(1));
    CHECK(lines.wrote("drained       udp/127.0.0.1:7000  instance 1  by user 0\n"));
    CHECK(json.wrote("\"event\":\"drained\",\"group\":\"udp/127.0.0.1:7000\",\"instance\":1"));
    servers[0].process().kill9();
    CHECK(lines.wrote("left "));
    CHECK_FALSE(contains(lines.out(), "\033"));

    daemon.kill9();
    CHECK(eventually([&] { return contains(lines.err(), "has gone: waiting for it"); }));
    daemon.start();
    CHECK(eventually([&] { return contains(lines.err(), "is back"); }));
    const size_t before = lines_with(lines.out(), "weighted").size();
    auto follows_again = [&] {
      tell(daemon, kGroup, weight(0, 300));
      return lines_with(lines.out(), "weighted").size() > before;
    };
    REQUIRE(eventually(follows_again));
    tell(daemon, kGroup, resume(1));
    CHECK(lines.wrote("resumed "));
    CHECK(other.out().empty());

    lines.signal(SIGINT);
    CHECK(lines.wait() == 128 + SIGINT);
  }
}

}  // namespace
}  // namespace subset::test
