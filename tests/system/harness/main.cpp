// SPDX-License-Identifier: MIT
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <exception>

#include <doctest/doctest.h>

#include "tests/system/harness/sandbox.h"

int main(int argc, char** argv) {
  try {
    return subset::test::run_in_sandbox([&] { return doctest::Context(argc, argv).run(); });
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
