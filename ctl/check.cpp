// SPDX-License-Identifier: MIT
#include "ctl/check.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ctl/client.h"
#include "ctl/privilege.h"
#include "ctl/receive_queues.h"
#include "ctl/shim_path.h"
#include "ctl/status.h"
#include "ctl/table.h"
#include "daemon/base/fd.h"

namespace subset::ctl {
namespace {

constexpr char kNoSteering[] = "no daemon runs: the kernel's own hash divides the traffic";

Finding good(std::string name, std::string found) {
  return {.level = Level::Ok,
          .name = std::move(name),
          .found = std::move(found),
          .cost = {},
          .remedy = {}};
}

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> number_in(const std::string& path) {
  auto line = first_line(path);
  if (!line || line->empty() || line->find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::strtoull(line->c_str(), nullptr, 10);
}

// Where a file system of this type is mounted.
std::optional<std::string> mount_point(const std::string& root, const std::string& type) {
  std::ifstream mounts(root + "/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, point, found_type;
    if (fields >> device >> point >> found_type && found_type == type) return point;
  }
  return std::nullopt;
}

const char* name_of(Level level) {
  switch (level) {
    case Level::Ok:
      return "ok";
    case Level::Warn:
      return "warn";
    case Level::Fail:
      return "fail";
  }
  return "";
}

Colour colour_of(Level level) {
  switch (level) {
    case Level::Ok:
      return Colour::Green;
    case Level::Warn:
      return Colour::Yellow;
    case Level::Fail:
      return Colour::Red;
  }
  return Colour::None;
}

Finding check_io_uring() {
  io_uring_params parameters{};
  Fd ring(static_cast<int>(syscall(SYS_io_uring_setup, 2, &parameters)));
  if (ring) return good("io_uring", "tried: works");
  int code = errno;
  return {.level = Level::Fail,
          .name = "io_uring",
          .found = std::string("set up a ring: ") + std::strerror(code),
          .cost = kNoSteering,
          .remedy = code == EPERM ? "sysctl kernel.io_uring_disabled=0, or allow it in the "
                                    "container's seccomp profile"
                                  : "use a kernel with CONFIG_IO_URING"};
}

Finding check_shim() {
  auto shim = find_shim();
  if (shim) return good("shim", *shim);
  return {.level = Level::Fail,
          .name = "shim",
          .found = shim.error().message(),
          .cost = "run and exec start no server",
          .remedy = "build libsubset.so, or install subset again"};
}

Finding check_daemon(const std::string& socket_path) {
  auto client = Client::connect(socket_path);
  auto document = client ? client->status() : Result<std::string>(fail(client.error(), "status"));
  auto groups = document ? parse_status(*document) : fail(document.error(), "status");
  if (groups)
    return good("daemon", "answers at " + socket_path + ", " + std::to_string(groups->size()) +
                              (groups->size() == 1 ? " group" : " groups"));
  std::string found = client ? groups.error().message() : client.error().message();
  return {.level = Level::Warn,
          .name = "daemon",
          .found = found.substr(0, found.find(": start")),
          .cost = "servers get the kernel's own hash, except under a privileged subset run",
          .remedy = "start one: sudo subsetd"};
}

}  // namespace

Finding check_kernel(const std::string& root) {
  constexpr int kMajor = 5;
  constexpr int kMinor = 14;
  std::string release = first_line(root + "/proc/sys/kernel/osrelease").value_or("unknown");
  int major = 0;
  int minor = 0;
  bool known = std::sscanf(release.c_str(), "%d.%d", &major, &minor) == 2;
  if (known && (major > kMajor || (major == kMajor && minor >= kMinor)))
    return good("kernel", release);
  return {.level = Level::Fail,
          .name = "kernel",
          .found = release,
          .cost = kNoSteering,
          .remedy = "use Linux 5.14 or later"};
}

Finding check_capabilities(const std::string& root, bool daemon_answers) {
  auto effective = effective_capabilities(root);
  std::string missing = effective ? missing_capabilities(*effective) : effective.error().message();
  if (missing.empty()) return good("capabilities", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN");
  // Who has a daemon to ask needs none himself.
  return {.level = daemon_answers ? Level::Warn : Level::Fail,
          .name = "capabilities",
          .found = "without " + missing,
          .cost = "this user cannot run a daemon",
          .remedy = "sudo subset check tells about the machine; a server needs no capability"};
}

Finding check_bpffs(const std::string& root) {
  constexpr char kWhere[] = "/sys/fs/bpf";
  auto point = mount_point(root, "bpf");
  if (point == kWhere) return good("bpf file system", *point);
  return {.level = Level::Warn,
          .name = "bpf file system",
          .found = std::string("not at ") + kWhere,
          .cost = "the daemon has to mount it, for which it needs CAP_SYS_ADMIN",
          .remedy = "mount -t bpf bpf /sys/fs/bpf"};
}

Finding check_cgroup(const std::string& root) {
  auto point = mount_point(root, "cgroup2");
  if (point) return good("cgroup2", *point);
  return {.level = Level::Warn,
          .name = "cgroup2",
          .found = "not mounted",
          .cost = "nothing that subset does today",
          .remedy = "mount -t cgroup2 none /sys/fs/cgroup"};
}

Finding check_unprivileged_bpf(const std::string& root) {
  auto value = number_in(root + "/proc/sys/kernel/unprivileged_bpf_disabled");
  if (!value) return good("unprivileged bpf", "not known; subset does not need it");
  return good("unprivileged bpf",
              std::string(*value == 0 ? "allowed" : "disabled") + "; subset does not need it");
}

Finding check_limit(const std::string& root, const std::string& sysctl, uint64_t least,
                    const std::string& cost) {
  std::string path = sysctl;
  std::replace(path.begin(), path.end(), '.', '/');
  auto value = number_in(root + "/proc/sys/" + path);
  // In a network namespace of its own a process may not see it: no reason to worry.
  if (!value) return good(sysctl, "not visible here");
  if (*value >= least) return good(sysctl, std::to_string(*value));
  return {.level = Level::Warn,
          .name = sysctl,
          .found = std::to_string(*value),
          .cost = cost,
          .remedy = "sysctl " + sysctl + "=" + std::to_string(least)};
}

Finding judge(const kernel::Feature& feature, bool unprivileged) {
  std::string name = "bpf: " + feature.name;
  if (feature.ok) return good(name, feature.detail);
  if (unprivileged && (feature.code == EPERM || feature.code == EACCES))
    return {.level = Level::Warn,
            .name = name,
            .found = "cannot be tried by this user",
            .cost = feature.cost,
            .remedy = "sudo subset check"};
  return {.level = feature.required ? Level::Fail : Level::Warn,
          .name = name,
          .found = feature.detail,
          .cost = feature.cost,
          .remedy =
              feature.remedy.empty()
                  ? "use a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_DEBUG_INFO_BTF"
                  : feature.remedy};
}

std::string render_findings(const std::vector<Finding>& findings, bool colour) {
  std::vector<std::vector<Cell>> rows;
  for (const Finding& each : findings) {
    rows.push_back(
        {{name_of(each.level), colour_of(each.level)}, each.name, printable(each.found)});
    if (each.level == Level::Ok) continue;
    rows.push_back({"", "", "costs: " + each.cost});
    rows.push_back({"", "", "do: " + each.remedy});
  }
  return render_table({{"RESULT"}, {"WHAT"}, {"FOUND"}}, rows, "", colour);
}

std::string findings_json(const std::vector<Finding>& findings) {
  using Json = nlohmann::ordered_json;
  Json list = Json::array();
  for (const Finding& each : findings)
    list.push_back({{"result", name_of(each.level)},
                    {"name", each.name},
                    {"found", each.found},
                    {"cost", each.cost},
                    {"remedy", each.remedy}});
  Json document = {{"ok", all_needed(findings)}, {"findings", std::move(list)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

bool all_needed(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& each) { return each.level == Level::Fail; });
}

int check(const CheckCommand& command, const std::string& socket_path, bool colour) {
  const std::string root;
  Finding daemon = check_daemon(socket_path);
  Finding capabilities = check_capabilities(root, daemon.level == Level::Ok);
  bool unprivileged = capabilities.level != Level::Ok;
  std::vector<Finding> findings = {check_kernel(root), capabilities};
  for (const kernel::Feature& each : kernel::probe_features())
    findings.push_back(judge(each, unprivileged));
  findings.push_back(check_bpffs(root));
  findings.push_back(check_cgroup(root));
  findings.push_back(check_io_uring());
  findings.push_back(check_unprivileged_bpf(root));
  findings.push_back(check_limit(root, "net.core.somaxconn", 1024,
                                 "bursts of connections are refused: listen(2) gives no more"));
  findings.push_back(check_limit(root, "net.core.rmem_max", 212992,
                                 "bursts of datagrams are lost: SO_RCVBUF gives no more"));
  findings.push_back(check_receive_queues(root));
  findings.push_back(check_shim());
  findings.push_back(daemon);
  std::string text = command.json ? findings_json(findings) : render_findings(findings, colour);
  std::fputs(text.c_str(), stdout);
  return all_needed(findings) ? 0 : 1;
}

}  // namespace subset::ctl
