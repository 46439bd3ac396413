// SPDX-License-Identifier: MIT
// subsetd as a service: what an administrator and a service manager see of it. There is no systemd
// in a test's sandbox, so its side is played: a notification socket, a watchdog's limit in the
// environment. The unit files themselves are judged by systemd's own tools, with the programs that
// they start replaced by one that is there.
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>

#include <doctest/doctest.h>

#include "protocol/message.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

// Of ten, ten being the worst; what the job needs (BPF, the network, the file system of pins,
// root's number to get at it) is 2.2 with systemd 252.
constexpr int kExposureTimes10 = 25;

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

// The units as installed, with programs that are there.
fs::path runnable_units(Machine& machine) {
  const fs::path directory = machine.file("units");
  fs::create_directories(directory);
  const std::regex program("ExecStart=/[^ \n]*");
  for (const fs::path& unit : {built("systemd/subsetd.service"), built("systemd/subset@.service"),
                               source("systemd/subsetd.socket")}) {
    write_file(directory / unit.filename(),
               std::regex_replace(read_file(unit), program, "ExecStart=/bin/true"));
  }
  return directory;
}

// What a service manager listens on.
class Notifications {
 public:
  explicit Notifications(const fs::path& path) : path_(path) {
    socket_ = Fd(checked(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    checked(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
  }
  std::string path() const { return path_; }

  // Takes in what has come until a message contains `text`.
  bool heard(const std::string& text, Clock::duration limit = kPatience) {
    return eventually(
        [&] {
          char message[4096];
          const ssize_t size = recv(socket_.get(), message, sizeof message, MSG_DONTWAIT);
          return size > 0 &&
                 std::string(message, static_cast<size_t>(size)).find(text) != std::string::npos;
        },
        limit);
  }

 private:
  fs::path path_;
  Fd socket_;
};

// The second name of a control socket, which has no mode that would keep anybody out.
bool has_abstract_name(const std::string& socket) {
  return read_file("/proc/net/unix").find("@" + socket + "\n") != std::string::npos;
}

Command subsetd(const std::vector<std::string>& arguments) {
  Command command{.argv = {built("daemon/subsetd")}};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  return command;
}

TEST_SUITE("system") {
  TEST_CASE("systemd finds nothing wrong with the units, and little exposed") {
    Machine machine;
    const fs::path units = runnable_units(machine);
    const Environment path{{"SYSTEMD_UNIT_PATH", units.string() + ":/lib/systemd/system"}};
    const Finished verified =
        run(machine, {.argv = {"systemd-analyze", "verify", "--man=no", units / "subsetd.service",
                               units / "subsetd.socket", units / "subset@dns.service"},
                      .environment = path});
    CHECK(verified.status == 0);
    CHECK(verified.err == "");
    const Finished judged =
        run(machine,
            {.argv = {"systemd-analyze", "security", "--offline=true", "--no-pager",
                      "--threshold=" + std::to_string(kExposureTimes10), units / "subsetd.service"},
             .environment = path});
    CAPTURE(judged.out);
    CHECK(judged.status == 0);
  }

  TEST_CASE("the service manager is told of readiness, status and life") {
    Machine machine;
    Notifications notifications(machine.file("notify"));
    Command command =
        subsetd({"--config", "/dev/null", "--http", "off", "--socket", machine.file("socket"),
                 "--pin-dir", fs::path(kBpffs) / ("service-" + std::to_string(machine.number()))});
    command.environment = {{"NOTIFY_SOCKET", notifications.path()}, {"WATCHDOG_USEC", "300000"}};
    Process daemon(machine, command);
    CHECK(notifications.heard("READY=1"));
    CHECK(notifications.heard("STATUS=steers 0 groups"));
    CHECK(notifications.heard("WATCHDOG=1"));
    CHECK(notifications.heard("WATCHDOG=1"));
    daemon.signal(SIGTERM);
    CHECK(notifications.heard("STOPPING=1"));
    CHECK(daemon.wait() == 0);
    fs::remove_all(fs::path(kBpffs) / ("service-" + std::to_string(machine.number())));
  }

  TEST_CASE("a configuration is checked without being used") {
    Machine machine;
    const std::string good = source("docs/subsetd.toml");
    const Finished fine = run(machine, subsetd({"--config", good, "--check-config"}));
    CHECK(fine.status == 0);
    CHECK(fine.out == good + ": OK\n");

    const std::string bad = machine.file("bad.toml");
    write_file(bad, "[quotas]\ngrops = 1\nmembers = 0\n[control]\ngroup = \"nosuchgroup\"\n");
    const Finished wrong = run(machine, subsetd({"--config", bad, "--check-config"}));
    CHECK(wrong.status == 1);
    CHECK(lines_with(wrong.err, bad + ":").size() == 2);
    CHECK(lines_with(wrong.err, bad + ":2: [quotas] has no key grops; is groups meant?").size() ==
          1);
    const Finished started = run(machine, subsetd({"--config", bad}));
    CHECK(started.status == 1);
    CHECK(started.err == wrong.err);

    CHECK(run(machine, subsetd({"--config", machine.file("absent")})).status == 1);
    CHECK(run(machine, subsetd({"--config", good, "--log", "loud"})).status == 2);
    CHECK(run(machine, subsetd({"--nonsense"})).status == 2);
  }

  TEST_CASE("a second daemon, and one of another layout, say so and end") {
    Machine machine;
    const fs::path others = fs::path(kBpffs) / ("others-" + std::to_string(machine.number()));
    DaemonProcess daemon(machine);
    const auto refused = [&](const std::string& socket, const std::string& pins) {
      const Finished ended = run(machine, subsetd({"--config", "/dev/null", "--http", "off",
                                                   "--socket", socket, "--pin-dir", pins}));
      CHECK(ended.status == 1);
      return ended.err;
    };
    CHECK(lines_with(refused(daemon.socket(), others), "another daemon serves").size() == 1);
    CHECK(lines_with(refused(machine.file("socket"), daemon.pins()), "another subsetd works on")
              .size() == 1);
    CHECK(daemon.status().groups.empty());

    fs::create_directories(others / "layout-99");
    CHECK(lines_with(refused(machine.file("socket"), others), "of another version").size() == 1);
    const Finished kept =
        run(machine, subsetd({"--config", "/dev/null", "--pin-dir", others, "--teardown"}));
    CHECK(kept.status == 1);
    CHECK(fs::exists(others / "layout-99"));
    fs::remove_all(others);
  }

  // Who may connect is a matter of the socket's mode and group, as with any other file.
  TEST_CASE("the control socket has the group and the mode that are configured") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Own, "off",
                         "[control]\ngroup = \"nogroup\"\nmode = \"0660\"\n");
    struct stat status {};
    REQUIRE(stat(daemon.socket().c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0660);
    CHECK(status.st_gid == getgrnam("nogroup")->gr_gid);
    const Command as_another{.argv = {built("ctl/subset"), "status"},
                             .environment = {{"SUBSET_SOCKET", daemon.socket()}},
                             .user = 1};
    const Finished refused = run(machine, as_another);
    CHECK(refused.status == 1);
    CHECK(lines_with(refused.err, "may not connect").size() == 1);
    CHECK(!has_abstract_name(daemon.socket()));
  }

  // There the socket unit says who may connect, and the daemon's configuration says nothing of it.
  TEST_CASE("a control socket that a service manager restricts has no name for everybody") {
    Machine machine;
    DaemonProcess daemon(machine, DaemonProcess::Listener::Kept);
    CHECK(has_abstract_name(daemon.socket()));
    CHECK(daemon.stop() == 0);
    fs::permissions(daemon.socket(), fs::perms{0660});
    daemon.start();
    CHECK(!has_abstract_name(daemon.socket()));
  }
}

}  // namespace
}  // namespace subset::test
