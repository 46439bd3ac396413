// SPDX-License-Identifier: MIT
#include "daemon/model/oversight.h"

#include <doctest/doctest.h>

using namespace subset;

TEST_CASE("a group whose own program decides is not foreign") {
  const Oversight found = oversee({{.cookie = 1, .kernel_group = 7, .decider = Decider::Own},
                                   {.cookie = 2, .kernel_group = 7, .decider = Decider::Own}});
  CHECK(found.foreign.empty());
  CHECK(found.misplaced.empty());
}

TEST_CASE("without members there is nothing to say, nor of those that the kernel has in no group") {
  CHECK(oversee({}).foreign.empty());
  const Oversight found = oversee({{.cookie = 1, .kernel_group = 0, .decider = Decider::Kernel}});
  CHECK(found.foreign.empty());
  CHECK(found.misplaced.empty());
}

TEST_CASE("whoever else decides is named") {
  for (const auto& [decider, words] : {std::pair{Decider::Server, "the server attached"},
                                       {Decider::Kernel, "the kernel's hash"},
                                       {Decider::Subset, "another subset daemon"}}) {
    const Oversight found = oversee({{.cookie = 1, .kernel_group = 7, .decider = decider}});
    CHECK(found.foreign.find(words) != std::string::npos);
  }
}

TEST_CASE("members apart from the others are misplaced, and do not speak for the group") {
  const Oversight found = oversee({{.cookie = 1, .kernel_group = 3, .decider = Decider::Server},
                                   {.cookie = 2, .kernel_group = 7, .decider = Decider::Own},
                                   {.cookie = 3, .kernel_group = 7, .decider = Decider::Own},
                                   {.cookie = 4, .kernel_group = 0, .decider = Decider::Kernel}});
  CHECK(found.foreign.empty());
  CHECK(found.misplaced == std::vector<Cookie>{1});
}
