// SPDX-License-Identifier: MIT
#include "shim/log.h"

#include <string>

#include <doctest/doctest.h>

using namespace subset::shim;

namespace {

// Debug is not asked for by default: the line is formatted, and not written.
template <typename Part>
std::string formatted(const Part& part) {
  Line line(LogLevel::Debug);
  line << part;
  return line.text();
}

}  // namespace

TEST_CASE("lines start with the name and hold text and numbers") {
  CHECK(formatted("hello") == "subset: hello");
  CHECK(formatted(uint64_t{0}) == "subset: 0");
  CHECK(formatted(UINT64_MAX) == "subset: 18446744073709551615");
}

TEST_CASE("control characters do not reach a terminal or start a line") {
  CHECK(formatted("a\nb\x1b[2J\x7f") == "subset: a?b?[2J?");
  CHECK(formatted("ü") == "subset: ü");
}

TEST_CASE("what does not fit is cut off") {
  const std::string text = formatted(std::string(2000, 'x').c_str());
  CHECK(text.size() == 511);
  CHECK(text.back() == 'x');
}

TEST_CASE("every errno has a text") {
  CHECK(std::string(describe_error(2)) == "No such file or directory");
  CHECK(std::string(describe_error(99999)) == "an unknown error");
}
