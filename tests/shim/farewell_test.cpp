// SPDX-License-Identifier: MIT
// A listener that is a member leaves before it is closed or shut down (shim/farewell.h).
#include <doctest/doctest.h>

#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;
using subset::protocol::Kind;

namespace {

// What the daemon was told after the registration of a listener that then did this.
std::vector<Seen> told_after(const Operations& then, FakeDaemon::Answer answer = grant) {
  FakeDaemon daemon(std::move(answer));
  Operations operations = {"tcp4", "bind,127.0.0.1," + free_port(), "listen,5"};
  operations.insert(operations.end(), then.begin(), then.end());
  const Result result = preload(operations, {{"SUBSET_SOCKET", daemon.path()}, {"SUBSET", "1/4"}});
  CHECK_MESSAGE(result.status == 0, result.said());
  CHECK(result.said().find('!') == std::string::npos);  // errno is as it was
  std::vector<Seen> seen = daemon.seen();
  REQUIRE(!seen.empty());
  CHECK(seen[0].header.kind == Kind::Register);
  const uint64_t listener = seen[0].cookie;
  seen.erase(seen.begin());
  // It asks whether there is a daemon with a socket that is nobody's.
  std::erase_if(seen, [&](const Seen& one) {
    return one.header.kind == Kind::Query && one.cookie != listener;
  });
  return seen;
}

}  // namespace

TEST_CASE("close: it leaves, unless others have it") {
  const auto told = told_after({"close"});
  REQUIRE(told.size() == 1);
  CHECK(told[0].header.kind == Kind::Leave);
  CHECK(told[0].flags == subset::protocol::kLastOnly);
  CHECK(told[0].listening);  // still
}

TEST_CASE("shutdown: it leaves, whoever has it; and joins again where it listens again") {
  const auto told = told_after({"shutdown", "listen,5", "close"});
  REQUIRE(told.size() == 3);
  CHECK(told[0].header.kind == Kind::Leave);
  CHECK(told[0].flags == 0);
  CHECK(told[1].header.kind == Kind::Register);
  CHECK(told[2].flags == subset::protocol::kLastOnly);
}

TEST_CASE("a daemon that refuses, or knows no such leave, or says nothing, does not keep it open") {
  for (const FakeDaemon::Answer& refusal :
       {refuse(EBUSY, ""), refuse(EPROTO, ""), FakeDaemon::Answer([](int, const Seen&) {})}) {
    const auto answer = [&](int connection, const Seen& seen) {
      seen.header.kind != Kind::Leave ? grant(connection, seen) : refusal(connection, seen);
    };
    CHECK(told_after({"descriptors", "close", "descriptors"}, answer).size() == 1);
  }
}

TEST_CASE("a daemon that does not answer is not sent the listener, which it would keep open") {
  const auto answer = [](int connection, const Seen& seen) {
    if (seen.header.kind == Kind::Register) grant(connection, seen);
  };
  CHECK(told_after({"close"}, answer).empty());
}

TEST_CASE("the copies of children are not the process'") {
  CHECK(told_after({"vforkclose"}).empty());
  CHECK(told_after({"fork", "close"}).empty());
  CHECK(told_after({"vforkclose", "close"}).size() == 1);
}

TEST_CASE("other sockets are closed without a word") {
  CHECK(told_after({"tcp4", "close", "udp4", "close", "unix", "close"}).empty());
  FakeDaemon daemon(grant);
  preload({"udp4", "bind,127.0.0.1," + free_port(), "shutdown", "close"},
          {{"SUBSET_SOCKET", daemon.path()}, {"SUBSET", "1/4"}});
  CHECK(daemon.seen().size() == 1);  // its registration
}

TEST_CASE("a number that another socket has by now") {
  const auto told = told_after({"close", "tcp4", "close"});
  CHECK(told.size() == 1);
}

TEST_CASE("after a seccomp filter of its own it says nothing") {
  CHECK(told_after({"confine", "close"}).empty());
  CHECK(told_after({"confine", "shutdown"}).empty());
}
