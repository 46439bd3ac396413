// SPDX-License-Identifier: MIT
#include "ctl/rates.h"

namespace subset::ctl {
namespace {

std::optional<uint64_t> selections(const GroupView& group) {
  if (!group.home) return std::nullopt;
  return *group.home + group.alternative.value_or(0) + group.kernel.value_or(0) +
         group.refused.value_or(0);
}

}  // namespace

Rates::Rates(const Look& before, double now_seconds) : seconds_(now_seconds - before.at_seconds) {
  for (const GroupView& group : before.groups) {
    Former& former = former_[name_of(group)];
    former.selections = selections(group);
    for (const MemberView& member : group.members)
      former.members.insert_or_assign({member.instance, member.member}, member);
  }
}

std::optional<double> Rates::growth(const std::optional<uint64_t>& before,
                                    const std::optional<uint64_t>& now) const {
  if (!before || !now || *now < *before || seconds_ <= 0) return std::nullopt;
  return static_cast<double>(*now - *before) / seconds_;
}

const MemberView* Rates::find(const GroupView& group, const MemberView& member) const {
  auto former = former_.find(name_of(group));
  if (former == former_.end()) return nullptr;
  auto found = former->second.members.find({member.instance, member.member});
  return found != former->second.members.end() ? &found->second : nullptr;
}

std::optional<double> Rates::of(const GroupView& now) const {
  auto former = former_.find(name_of(now));
  if (former == former_.end()) return std::nullopt;
  return growth(former->second.selections, selections(now));
}

// The seat counts, whoever sits there.
std::optional<double> Rates::selected(const GroupView& group, const MemberView& now) const {
  const MemberView* before = find(group, now);
  return before != nullptr ? growth(before->selected, now.selected) : std::nullopt;
}

// The socket counts: another one in the same seat begins anew.
std::optional<double> Rates::drops(const GroupView& group, const MemberView& now) const {
  const MemberView* before = find(group, now);
  if (before == nullptr || before->cookie != now.cookie) return std::nullopt;
  return growth(before->drops, now.drops);
}

}  // namespace subset::ctl
