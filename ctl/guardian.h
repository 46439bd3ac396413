// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include "ctl/child.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::ctl {

// A small process that outlives us and then stops what we started. PR_SET_PDEATHSIG alone does not:
// the kernel clears it when a process changes its user, as servers started by root do.
class Guardian {
 public:
  static Result<Guardian> start();
  Guardian(Guardian&&) noexcept = default;
  Guardian& operator=(Guardian&&) noexcept = default;
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;
  ~Guardian();

  // Process groups, by the number of their first process.
  void watch(pid_t group);
  void forget(pid_t group);

 private:
  Guardian(Fd words, Process process) : words_(std::move(words)), process_(std::move(process)) {}
  void tell(pid_t word);

  Fd words_;
  Process process_;
};

}  // namespace subset::ctl
