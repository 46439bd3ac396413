// SPDX-License-Identifier: MIT
#include "ctl/start.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "ctl/program_check.h"
#include "ctl/shim_path.h"

namespace subset::ctl {
namespace {

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  // execve takes char* for reasons of history, and changes nothing.
  for (const std::string& each : strings) pointers.push_back(const_cast<char*>(each.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Environment own_environment() {
  Environment environment;
  for (char** each = environ; *each != nullptr; ++each) environment.emplace_back(*each);
  return environment;
}

Result<Launch> prepare_launch(std::vector<std::string> command, Steering steering) {
  auto shim = find_shim();
  if (!shim) return tl::make_unexpected(shim.error());
  return Launch{.command = std::move(command),
                .steering = std::move(steering),
                .environment = own_environment(),
                .shim = std::move(*shim)};
}

Result<void> check_reach(const std::string& program, const Environment& environment, bool force) {
  constexpr char kDefaultPath[] = "/bin:/usr/bin";  // as execvp
  auto path = find_variable(environment, "PATH").value_or(kDefaultPath);
  auto verdict = check_program(program, path);
  if (!verdict) return tl::make_unexpected(verdict.error());
  if (verdict->reach == Reach::Ok) return {};
  std::string line = program + " " + verdict->why;
  if (verdict->reach == Reach::Refuse && !force)
    return fail(0, line + "; --force runs it unsteered");
  tell(line);
  return {};
}

Error become(const Start& start) {
  auto arguments = pointers_to(start.arguments);
  auto environment = pointers_to(start.environment);
  execvpe(arguments[0], arguments.data(), environment.data());
  return fail_errno("cannot run " + start.arguments.front()).value();
}

void tell(const std::string& line) {
  std::fprintf(stderr, "subset: %s\n", line.c_str());
}

Result<uint64_t> random_lineage() {
  uint64_t lineage = 0;
  if (getrandom(&lineage, sizeof lineage, 0) != sizeof lineage)
    return fail_errno("make a lineage's id");
  return std::max<uint64_t>(lineage, 1);
}

}  // namespace subset::ctl
