// SPDX-License-Identifier: MIT
#include "tests/system/real_servers/trial.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <future>
#include <set>
#include <sstream>
#include <stdexcept>

#include <doctest/doctest.h>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/sandbox.h"
#include "tests/system/real_servers/ports.h"
#include "tests/system/real_servers/table.h"

namespace subset::test {
namespace {

namespace fs = std::filesystem;
using Lines = std::multiset<std::string>;

Lines lines_of(const std::string& text) {
  Lines lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

std::string text_of(const auto& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// Some load an interpreter and a framework first.
constexpr auto kStartLimit = 60s;

// What a server lets the world see of itself.
struct Behaviour {
  std::vector<std::string> answers;  // of each time it was asked
  std::set<int> exits;               // statuses of its processes
  std::set<std::string> log;         // each line that it wrote, once, without numbers
};

uint64_t flows_of(const Trial& trial) {
  return flows_for(trial.groups.front().members);
}

// The processes of one server.
class Servers {
 public:
  Servers(Machine& machine, const Trial& trial) : machine_(machine), trial_(trial) {}

  // `before` comes before the server's own command line.
  void start(std::vector<std::string> before, const Environment& environment) {
    const fs::path directory = machine_.file(machine_.unique("instance"));
    fs::create_directory(directory);
    auto argv = trial_.prepare(directory);
    before.insert(before.end(), argv.begin(), argv.end());
    directories_.push_back(directory);
    processes_.emplace_back(machine_, Command{.argv = before, .environment = environment});
  }

  // In no order: instances do not wait for each other.
  std::string ask() {
    const Lines before = written();
    auto finished = run(machine_, {.argv = {"sh", "-c", trial_.client},
                                   .environment = {{"CLIENTS", source("tests/system/real_servers")},
                                                   {"FLOWS", std::to_string(flows_of(trial_))}}});
    if (trial_.written_to.empty()) return text_of(lines_of(finished.out + finished.err));
    // What was sent is read and written down some time later.
    const size_t wanted = before.size() + trial_.groups.size() * flows_of(trial_);
    eventually([&] { return written().size() >= wanted; });
    Lines news = written();
    for (const std::string& line : before) news.erase(news.find(line));
    return text_of(news);
  }

  std::set<int> end() {
    std::set<int> exits;
    for (const Process& process : processes_) process.signal(SIGTERM);
    for (Process& process : processes_) exits.insert(process.wait(kStartLimit).value_or(-1));
    return exits;
  }

  const std::vector<Process>& processes() const { return processes_; }

  // Waits for this, or for the end of any of them.
  template <typename Condition>
  bool wait_until(Condition condition) const {
    auto all_live = [&] { return std::ranges::all_of(processes_, &Process::alive); };
    auto all_ready = [&] { return condition() && have_said(trial_.ready); };
    return eventually([&] { return !all_live() || all_ready(); }, kStartLimit) && all_live();
  }

  bool have_said(const std::string& words) const {
    return std::ranges::all_of(processes_, [&](const Process& process) {
      return (process.out() + process.err()).find(words) != std::string::npos;
    });
  }

  std::string said() const {
    std::string all;
    for (const Process& process : processes_) all += process.out() + process.err();
    for (const fs::path& directory : directories_) all += read_file(directory / kLogFile);
    return all;
  }

  // Times, process numbers and directories differ from run to run.
  std::set<std::string> log() const {
    std::set<std::string> lines;
    for (std::string line : lines_of(said())) {
      const auto says = [&](const std::string& words) {
        return line.find(words) != std::string::npos;
      };
      if (std::ranges::any_of(trial_.timing, says)) continue;
      std::erase_if(line, [](unsigned char c) { return std::isdigit(c); });
      lines.insert(line);
    }
    return lines;
  }

 private:
  Lines written() const {
    std::string all;
    for (const fs::path& directory : directories_) all += read_file(directory / trial_.written_to);
    return lines_of(all);
  }

  Machine& machine_;
  const Trial& trial_;
  std::vector<fs::path> directories_;
  std::vector<Process> processes_;
};

// Questions, a reload of each process in turn with questions meanwhile, and the end; `ready` waits
// until all serve. `finish` looks before they end.
template <typename Ready, typename Finish>
Behaviour drive(Servers& servers, const Trial& trial, Ready ready, Finish finish) {
  Behaviour seen;
  if (!ready()) throw std::runtime_error("does not come up:\n" + servers.said());
  seen.answers.push_back(servers.ask());
  if (trial.reload != 0) {
    for (const Process& process : servers.processes()) {
      process.signal(trial.reload);
      seen.answers.push_back(servers.ask());
      if (!ready()) throw std::runtime_error("does not come back:\n" + servers.said());
    }
  }
  finish(seen);
  seen.exits = servers.end();
  seen.log = servers.log();
  return seen;
}

Behaviour by_itself(const Trial& trial) {
  Machine machine;
  Servers servers(machine, trial);
  servers.start({}, {});
  auto bound = [](const Sharing& sharing) { return is_bound(sharing.group); };
  auto all_bound = [&] { return std::ranges::all_of(trial.groups, bound); };
  auto ready = [&] { return servers.wait_until(all_bound); };
  return drive(servers, trial, ready, [](const Behaviour&) {});
}

std::vector<std::string> exec_line(const Trial& trial, uint32_t instance) {
  std::vector<std::string> line{built("ctl/subset"), "exec",
                                std::to_string(instance) + "/" + std::to_string(trial.instances)};
  line.insert(line.end(), trial.options.begin(), trial.options.end());
  line.emplace_back("--");
  return line;
}

// Not more either: those of before a reload have gone.
bool complete(const Document& status, const Trial& trial) {
  return std::ranges::all_of(trial.groups, [&](const Sharing& sharing) {
    const GroupStatus* group = status.find(sharing.group);
    return group && group->active() == sharing.members;
  });
}

// Each question was one selection, and each member got some. Those of before a reload have gone,
// but their seats have not, nor what they counted.
void check_shares(const GroupStatus& group, const Trial& trial, uint64_t questions) {
  CAPTURE(group.id);
  CHECK(group.total == trial.instances);
  CHECK(group.selected() == questions);
  CHECK(group.kernel == 0);
  CHECK(group.refused == 0);
  CHECK(group.strangers == 0);
  for (const MemberStatus& member : group.members) {
    CAPTURE(member.instance);
    CAPTURE(member.member);
    if (member.state == "active") CHECK(member.selected > 0);
  }
}

Behaviour in_a_subset(const Trial& trial) {
  Machine machine;
  DaemonProcess daemon(machine);
  Servers servers(machine, trial);
  for (uint32_t i = 0; i < trial.instances; i++)
    servers.start(exec_line(trial, i), {{"SUBSET_SOCKET", daemon.socket()}});
  auto ready = [&] { return servers.wait_until([&] { return complete(daemon.status(), trial); }); };
  return drive(servers, trial, ready, [&](const Behaviour& seen) {
    Document status = daemon.status();
    for (const Sharing& sharing : trial.groups)
      check_shares(status.group(sharing.group), trial, seen.answers.size() * flows_of(trial));
  });
}

}  // namespace

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

void give_to(const std::string& user, const fs::path& path) {
  const passwd* known = getpwnam(user.c_str());
  if (!known || chown(path.c_str(), known->pw_uid, known->pw_gid) != 0)
    throw std::runtime_error("cannot give " + path.string() + " to " + user);
}

// Both have a machine of their own, and mostly wait.
void try_server(const Trial& trial) {
  note_trial(trial);
  auto reference = std::async(std::launch::async, by_itself, trial);
  const Behaviour steered = in_a_subset(trial);
  const Behaviour plain = reference.get();
  CHECK(plain.answers.front() != "");
  for (const std::string& answers : plain.answers) CHECK(answers == plain.answers.front());
  for (const std::string& answers : steered.answers) CHECK(answers == plain.answers.front());
  CHECK(steered.exits == plain.exits);
  CHECK(text_of(steered.log) == text_of(plain.log));
}

}  // namespace subset::test
