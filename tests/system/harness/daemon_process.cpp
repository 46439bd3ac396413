// SPDX-License-Identifier: MIT
#include "tests/system/harness/daemon_process.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/system/harness/control.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;

// A bpffs takes no name with a dot.
std::string pin_directory(Machine& machine) {
  std::string name = machine.unique("subset-" + std::to_string(machine.number()));
  std::ranges::replace(name, '.', '-');
  return fs::path(kBpffs) / name;
}

// The tests of the daemon's other way of sampling are these, with a library that refuses the first.
Environment daemon_environment() {
  const char* preload = std::getenv("SUBSET_TEST_DAEMON_PRELOAD");
  return preload ? Environment{{"LD_PRELOAD", preload}} : Environment{};
}

}  // namespace

DaemonProcess::DaemonProcess(Machine& machine, Listener listener, std::string http,
                             const std::string& config)
    : machine_(machine),
      socket_(machine.file(machine.unique("socket"))),
      pins_(pin_directory(machine)),
      http_(std::move(http)),
      config_(machine.file(machine.unique("config"))) {
  std::ofstream(config_) << config;
  if (listener == Listener::Kept) listener_ = listen_at(socket_);
  start();
}

// Daemons leave their pins behind on purpose; the next test case is not to adopt them.
DaemonProcess::~DaemonProcess() {
  process_.reset();
  std::error_code ignored;
  fs::remove_all(pins_, ignored);
}

void DaemonProcess::spawn() {
  process_.emplace(
      machine_, Command{.argv = {built("daemon/subsetd"), "--config", config_, "--socket", socket_,
                                 "--pin-dir", pins_, "--http", http_},
                        .environment = daemon_environment(),
                        .listener = listener_ ? listener_.get() : -1});
}

void DaemonProcess::start() {
  spawn();
  std::string failure = "it does not listen";
  bool serves = false;
  try {
    serves = eventually([&] { return !process_->alive() || answers(socket_); });
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (!serves || !process_->alive()) {
    throw std::runtime_error("subsetd does not serve: " + failure + "\n" + process_->err());
  }
}

void DaemonProcess::kill9() {
  process_->kill9();
}

int DaemonProcess::stop() {
  process_->signal(SIGTERM);
  auto status = process_->wait();
  if (!status) throw std::runtime_error("subsetd does not stop at SIGTERM");
  return *status;
}

void DaemonProcess::hang() const {
  process_->signal(SIGSTOP);
}

void DaemonProcess::wake() const {
  process_->signal(SIGCONT);
}

size_t DaemonProcess::descriptors() const {
  return descriptor_names().size();
}

size_t DaemonProcess::idle_descriptors() const {
  size_t fewest = descriptors();
  for (auto end = Clock::now() + 100ms; Clock::now() < end; std::this_thread::sleep_for(5ms)) {
    fewest = std::min(fewest, descriptors());
  }
  return fewest;
}

std::vector<std::string> DaemonProcess::descriptor_names() const {
  return test::descriptor_names(pid());
}

std::string DaemonProcess::kernel_says(const std::string& name) const {
  std::string status = read_file("/proc/" + std::to_string(pid()) + "/status");
  auto lines = lines_with(status, name + ":\t");
  if (lines.size() != 1) throw std::runtime_error("no " + name + " in " + status);
  return lines.front().substr(name.size() + 2);
}

Environment DaemonProcess::environment(const std::string& share) const {
  return shim_environment(socket_, share);
}

Environment shim_environment(const std::string& socket, const std::string& share) {
  return {{"LD_PRELOAD", built("shim/libsubset.so")}, {"SUBSET_SOCKET", socket}, {"SUBSET", share}};
}

bool answers(const std::string& socket) {
  try {
    fetch_status(socket);
    return true;
  } catch (const std::system_error&) {
    return false;  // nobody listens yet
  } catch (const HungUp&) {
    return false;  // the listener of a daemon that was killed lives a little longer than it
  }
}

std::vector<std::string> descriptor_names(pid_t pid) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code closed_meanwhile;
    fs::path name = fs::read_symlink(entry.path(), closed_meanwhile);
    if (!closed_meanwhile) names.push_back(name);
  }
  return names;
}

}  // namespace subset::test
