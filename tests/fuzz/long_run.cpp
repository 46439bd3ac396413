// SPDX-License-Identifier: MIT
// With SUBSET_TEST_LONG a fuzzer runs for ten minutes instead of what its command line says.
#include <cstdlib>
#include <vector>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static char kLong[] = "-max_total_time=600";
  static std::vector<char*> arguments;
  if (!std::getenv("SUBSET_TEST_LONG")) return 0;
  arguments.assign(*argv, *argv + *argc);
  arguments.push_back(kLong);  // the last one counts
  *argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  *argv = arguments.data();
  return 0;
}
