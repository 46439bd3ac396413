// SPDX-License-Identifier: MIT
#include "ctl/exec.h"

#include "ctl/start.h"

namespace subset::ctl {

Error execute(const ExecCommand& command) {
  auto launch = prepare_launch(command.command, command.steering);
  if (!launch) return launch.error();
  auto lineage = random_lineage();
  if (!lineage) return lineage.error();
  auto start = plan_start(*launch, command.share, *lineage);
  if (!start) return start.error();
  auto reach = check_reach(start->arguments.front(), start->environment, command.force);
  if (!reach) return reach.error();
  return become(*start);
}

}  // namespace subset::ctl
