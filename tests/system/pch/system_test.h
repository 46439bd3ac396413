// SPDX-License-Identifier: MIT
// What nearly every system test includes, read by the compiler once. Only what never changes: each
// file still includes what it uses.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
