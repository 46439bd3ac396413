// SPDX-License-Identifier: MIT
// `subset check`: what this machine can do, found out by trying; and what to do about the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ctl/command_line.h"
#include "daemon/base/result.h"
#include "daemon/kernel/features.h"

namespace subset::ctl {

enum class Level : uint8_t { Ok, Warn, Fail };

struct Finding {
  Level level = Level::Ok;
  std::string name, found;
  std::string cost;    // what is lost; empty where all is well
  std::string remedy;  // what to do
};

// --- from files below `root`, so that tests can bring their own /proc and /sys ------------------

Finding check_kernel(const std::string& root);
Finding check_capabilities(const std::string& root, bool daemon_answers);
Finding check_bpffs(const std::string& root);
Finding check_cgroup(const std::string& root);
Finding check_unprivileged_bpf(const std::string& root);
// A number in /proc/sys, and the least that does no harm.
Finding check_limit(const std::string& root, const std::string& sysctl, uint64_t least,
                    const std::string& cost);

// --- pure ---------------------------------------------------------------------------------------

// `unprivileged`: a failure for lack of permission says nothing about the kernel.
Finding judge(const kernel::Feature& feature, bool unprivileged);
std::string render_findings(const std::vector<Finding>& findings, bool colour);
std::string findings_json(const std::vector<Finding>& findings);
bool all_needed(const std::vector<Finding>& findings);

// --- the command --------------------------------------------------------------------------------

// Everything, of this machine. The exit status.
int check(const CheckCommand& command, const std::string& socket_path, bool colour);

}  // namespace subset::ctl
