// SPDX-License-Identifier: MIT
#include "ctl/embed.h"

#include <doctest/doctest.h>

#include "protocol/message.h"

using subset::ctl::pin_directory;

TEST_CASE("a daemon with a socket of its own pins in a place of its own") {
  CHECK(pin_directory(subset::protocol::kDefaultSocketPath) == "/sys/fs/bpf/subset");
  CHECK(pin_directory("/tmp/a").starts_with("/sys/fs/bpf/subset-"));
  CHECK(pin_directory("/tmp/a") == pin_directory("/tmp/a"));
  CHECK(pin_directory("/tmp/a") != pin_directory("/tmp/b"));
}
