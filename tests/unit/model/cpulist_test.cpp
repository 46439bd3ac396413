// SPDX-License-Identifier: MIT
#include "daemon/model/cpulist.h"

#include <random>
#include <string>

#include <doctest/doctest.h>

namespace subset {
namespace {

using Cpus = std::vector<uint32_t>;

TEST_CASE("what the kernel writes") {
  CHECK(parse_cpulist("0").list() == Cpus{0});
  CHECK(parse_cpulist("0-3").list() == Cpus{0, 1, 2, 3});
  CHECK(parse_cpulist("0-1,4,6-7\n").list() == Cpus{0, 1, 4, 6, 7});
  CHECK(parse_cpulist("").empty());
  CHECK(parse_cpulist("\n").empty());
}

TEST_CASE("what is no list ends it") {
  CHECK(parse_cpulist("cpus").empty());
  CHECK(parse_cpulist("-1").empty());
  CHECK(parse_cpulist("1,x").list() == Cpus{1});
  CHECK(parse_cpulist("1;2").list() == Cpus{1});
  CHECK(parse_cpulist("3-").empty());
  CHECK(parse_cpulist("5-2").empty());
  CHECK(parse_cpulist("99999999999").empty());
}

TEST_CASE("numbers that no machine has are left out, at no cost") {
  CHECK(parse_cpulist("8191").list() == Cpus{8191});
  CHECK(parse_cpulist("8192").empty());
  CHECK(parse_cpulist("8190-4294967295").list() == Cpus{8190, 8191});
}

TEST_CASE("a set that is written and read is the same set") {
  std::mt19937 random{1};
  for (int i = 0; i < 1000; i++) {
    CpuSet cpus;
    for (auto count = random() % 40; count > 0; count--) cpus.add(random() % 200);
    CAPTURE(cpus.cpulist());
    CHECK(parse_cpulist(cpus.cpulist()) == cpus);
  }
}

}  // namespace
}  // namespace subset
