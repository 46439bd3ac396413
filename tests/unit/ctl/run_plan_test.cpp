// SPDX-License-Identifier: MIT
#include "ctl/run_plan.h"

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

Launch launch_of(std::vector<std::string> command) {
  return {.command = std::move(command),
          .steering = {},
          .environment = {"PATH=/bin", "LD_PRELOAD=/a.so /b.so", "SUBSET=7/9"},
          .shim = "/s/libsubset.so"};
}

}  // namespace

TEST_CASE("variables are found by their whole name and set once") {
  Environment environment = {"A=1", "AB=2", "EMPTY="};
  CHECK(find_variable(environment, "A") == "1");
  CHECK(find_variable(environment, "EMPTY") == "");
  CHECK_FALSE(find_variable(environment, "B"));
  set_variable(environment, "A", "3=4");
  CHECK(environment == Environment{"AB=2", "EMPTY=", "A=3=4"});
}

TEST_CASE("an instance is told what it is") {
  Launch launch = launch_of({"server", "--pid=/run/{i}-of-{n}.pid", "{j}{i}{i}", "{"});
  launch.steering.mode = "cpu";
  launch.steering.pin = "1";
  auto start = plan_start(launch, "3/8", 0xabcdef);
  REQUIRE(start);
  CHECK(start->arguments ==
        std::vector<std::string>{"server", "--pid=/run/3-of-8.pid", "{j}33", "{"});
  CHECK(find_variable(start->environment, "SUBSET") == "3/8");
  CHECK(find_variable(start->environment, "SUBSET_MODE") == "cpu");
  CHECK(find_variable(start->environment, "SUBSET_PIN") == "1");
  CHECK(find_variable(start->environment, "SUBSET_LINEAGE") == "0000000000abcdef");
  CHECK(find_variable(start->environment, "LD_PRELOAD") == "/s/libsubset.so:/a.so:/b.so");
  CHECK(find_variable(start->environment, "PATH") == "/bin");
  CHECK_FALSE(find_variable(start->environment, "SUBSET_WEIGHT"));
}

TEST_CASE("placeholders need an instance and a total") {
  CHECK(plan_start(launch_of({"s", "{n}"}), "auto/8", 1)->arguments[1] == "8");
  CHECK_FALSE(plan_start(launch_of({"s", "{i}"}), "auto/8", 1));
  CHECK_FALSE(plan_start(launch_of({"s", "{n}"}), "auto", 1));
  CHECK(plan_start(launch_of({"s"}), "auto", 1));
}

TEST_CASE("what the shim would refuse is refused, wherever it was said") {
  Launch launch = launch_of({"s"});
  CHECK_FALSE(plan_start(launch, "8/8", 1));
  launch.environment.emplace_back("SUBSET_WEIGHT=0");
  auto start = plan_start(launch, "0/8", 1);
  REQUIRE_FALSE(start);
  CHECK(start.error().message().starts_with("SUBSET_WEIGHT=0 in the environment: expected "));
  launch.steering.weight = "10";  // said again, rightly
  CHECK(plan_start(launch, "0/8", 1));
}

TEST_CASE("the shim is preloaded first, and once") {
  CHECK(preload_with("", "/s.so") == "/s.so");
  CHECK(preload_with(":: ", "/s.so") == "/s.so");
  CHECK(preload_with("/a.so:/s.so /b.so", "/s.so") == "/s.so:/a.so:/b.so");
}

TEST_CASE("a chosen log level stays") {
  Environment environment = {"SUBSET_LOG=debug"};
  silence_fallback_warnings(environment);
  CHECK(environment == Environment{"SUBSET_LOG=debug"});
  environment.clear();
  silence_fallback_warnings(environment);
  CHECK(environment == Environment{"SUBSET_LOG=error"});
}
