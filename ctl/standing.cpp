// SPDX-License-Identifier: MIT
#include "ctl/standing.h"

#include <utility>

namespace subset::ctl {
namespace {

constexpr size_t kMostNamed = 8;  // of processes, in a line for people

std::string list_of(const std::set<int64_t>& processes) {
  std::string text = processes.size() == 1 ? "process" : "processes";
  size_t named = 0;
  for (const int64_t pid : processes) {
    if (named == kMostNamed)
      return text + " and " + std::to_string(processes.size() - named) + " more";
    text += (named++ == 0 ? " " : ", ") + std::to_string(pid);
  }
  return text;
}

}  // namespace

Standing standing_in(const GroupView& group, const Belongs& ours) {
  Standing standing;
  standing.total = group.total.value_or(0);
  standing.generation = group.generation.value_or(0);
  for (const MemberView& member : group.members) {
    if (member.vacant || !member.pid || *member.pid == 0 || !member.instance) continue;
    const bool own = ours(*member.pid);
    if (member.state == "pending" && own) standing.pending.insert(*member.instance);
    if (member.state == "active") {
      if (own)
        standing.active.insert(*member.instance);
      else
        standing.others_serve = true;
    }
    if (member.state != "draining") continue;
    add_what_waits(own ? standing.left : standing.left_to_former, member);
    if (own)
      standing.drains = true;
    else
      standing.former.insert(*member.pid);
  }
  return standing;
}

std::vector<std::string> StandingReport::news(const std::vector<GroupView>& groups,
                                              const Belongs& ours) {
  std::vector<std::string> lines;
  bool anywhere = false;
  bool all_done = true;
  for (const GroupView& group : groups) {
    const Standing standing = standing_in(group, ours);
    const bool here = standing.drains || !standing.active.empty() || !standing.pending.empty();
    if (!here) continue;
    anywhere = true;
    all_done &= standing.replaced() && standing.left.empty();
    report(group, standing, told_[group.id], lines);
  }
  done_ = anywhere && all_done;
  return lines;
}

void StandingReport::report(const GroupView& group, const Standing& standing, Told& told,
                            std::vector<std::string>& lines) const {
  const auto say = [&](const std::string& text) { lines.push_back(group.id + ": " + text); };
  told.looks_pending = standing.pending.empty() ? 0 : told.looks_pending + 1;
  if (told.looks_pending > 0) {
    told.was_pending = true;
    // The first look may come while the last instances start.
    if (told.looks_pending == 2)
      say("the " + std::to_string(standing.total) + " instances that serve go on until all " +
          std::to_string(copies_) + " of this run are there; " +
          std::to_string(standing.pending.size()) + " are");
  }
  const bool whole = standing.active.size() == copies_;
  if (whole && told.was_pending) {
    told.was_pending = false;
    say("generation " + std::to_string(standing.generation) + ", of " +
        std::to_string(standing.total) + " instances, serves now");
  }
  if (whole && !standing.former.empty()) {
    if (told.former != standing.former)
      say("the former " + list_of(standing.former) + " get" +
          (standing.former.size() == 1 ? "s" : "") + " nothing new");
    told.former = standing.former;
    if (standing.left_to_former.empty() && told.former_idle != standing.former) {
      say("nothing waits for them any more: stop the former " + list_of(standing.former));
      told.former_idle = standing.former;
    }
  }
  if (!standing.replaced()) {
    told.replaced = told.idle = false;
    return;
  }
  if (!std::exchange(told.replaced, true))
    say("others have taken over all instances of this run: it gets nothing new");
  if (standing.left.empty() && !std::exchange(told.idle, true))
    say("nothing waits for this run any more: it may be stopped");
}

}  // namespace subset::ctl
