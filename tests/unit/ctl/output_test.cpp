// SPDX-License-Identifier: MIT
#include "ctl/output.h"

#include <doctest/doctest.h>

#include "ctl/backoff.h"

using namespace subset::ctl;

TEST_CASE("each line gets its prefix, however the bytes arrive") {
  LinePrefixer lines("[3] ");
  std::string out;
  lines.feed("one\ntw", out);
  CHECK(out == "[3] one\n");
  CHECK(lines.pending());
  lines.feed("o\n\nthree\n", out);
  CHECK(out == "[3] one\n[3] two\n[3] \n[3] three\n");
  CHECK_FALSE(lines.pending());
}

TEST_CASE("an incomplete line becomes a line when somebody waits for it") {
  LinePrefixer lines("> ");
  std::string out;
  lines.feed("login: ", out);
  CHECK(out.empty());
  lines.flush(out);
  lines.flush(out);
  CHECK(out == "> login: \n");
  lines.feed("\n\nok\n", out);  // the first ends the line that was shown already
  CHECK(out == "> login: \n> \n> ok\n");
}

TEST_CASE("a line without an end is cut") {
  LinePrefixer lines("");
  std::string out;
  lines.feed(std::string(2 * LinePrefixer::kMaxLine, 'x') + "\n", out);
  std::string part(LinePrefixer::kMaxLine, 'x');
  CHECK(out == part + "\n" + part + "\n");
  CHECK_FALSE(lines.pending());
}

TEST_CASE("back-off doubles up to its bound, and begins again after a long run") {
  using std::chrono::milliseconds;
  Backoff backoff;
  CHECK(backoff.next(milliseconds(5)) == milliseconds(100));
  CHECK(backoff.next(milliseconds(5)) == milliseconds(200));
  for (int i = 0; i < 10; ++i) backoff.next(milliseconds(5));
  CHECK(backoff.next(milliseconds(5)) == milliseconds(10000));
  CHECK(backoff.next(milliseconds(60000)) == milliseconds(100));
}
