// SPDX-License-Identifier: MIT
// The shim is a guest: what it adds to a process that did not ask for it, and what it never does.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include <doctest/doctest.h>

#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;

namespace {

using Names = std::set<std::string>;

// The names that `nm -D` gives for defined (or undefined) symbols, without their versions.
Names symbols(const char* which) {
  Names names;
  for (const std::string& line : run_command({"nm", "-D", "-j", which, shim_path()}).out)
    names.insert(line.substr(0, line.find('@')));
  return names;
}

// The system calls after the probe's `mark`, which is getppid. PORT in the operations stands for a
// fresh one: the connections of a run before may still be in TIME_WAIT.
std::string calls_after_mark(const Operations& operations, Environment environment, bool shim) {
  const std::string port = free_port();
  const std::string file = scratch() + "/strace";
  std::vector<std::string> command = {"strace", "-f", "-o", file};
  environment.emplace("SUBSET_SOCKET", scratch() + "/nobody");
  if (shim) command.insert(command.end(), {"-E", "LD_PRELOAD=" + shim_path()});
  command.push_back(probe_path());
  for (const std::string& operation : operations) {
    const size_t at = operation.find("PORT");
    command.push_back(operation.substr(0, at) + (at == std::string::npos ? "" : port));
  }
  const Result result = run_command(command, environment);
  CHECK_MESSAGE(result.said().find(" E") == std::string::npos, result.said());
  std::ifstream trace(file);
  std::string calls;
  bool marked = false;
  for (std::string line; std::getline(trace, line);) {
    std::istringstream words(line);
    std::string pid;
    std::string call;
    words >> pid >> call;
    call = call.substr(0, call.find('('));
    if (marked) calls += call + ' ';
    marked = marked || call == "getppid";
  }
  return calls;
}

std::chrono::microseconds start_once(const Environment& environment) {
  const auto begin = std::chrono::steady_clock::now();
  run_command({probe_path()}, environment);
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               begin);
}

}  // namespace

TEST_CASE("it exports what it stands in front of, and nothing else") {
  Names listed;
#define INTERPOSE(type, name, exceptions, parameters, arguments, direct) listed.insert(#name);
#include "shim/interposed.def"
#undef INTERPOSE
  CHECK(symbols("--defined-only") == listed);
}

TEST_CASE("it needs libc alone") {
  std::string needed;
  for (const std::string& line : run_command({"readelf", "-d", shim_path()}).out)
    if (line.find("(NEEDED)") != std::string::npos) needed += line.substr(line.find('['));
  CHECK(needed == "[libc.so.6]");
}

TEST_CASE("it allocates nothing, locks nothing, prints with nothing that does") {
  const Names used = symbols("--undefined-only");
  for (const char* name : {"malloc", "calloc", "realloc", "free", "_Znwm", "pthread_mutex_lock",
                           "pthread_once", "printf", "snprintf", "vsnprintf", "strerror", "abort",
                           "__assert_fail", "__cxa_throw", "__cxa_guard_acquire", "fopen"})
    CHECK_MESSAGE(used.count(name) == 0, name);
}

TEST_CASE("with SUBSET unset, no system call is added") {
  const std::string port = free_port();
  const Operations operations = {"mark",
                                 "udp4",
                                 "bind,127.0.0.1,PORT",
                                 "datagram",
                                 "reuseport,0",
                                 "reuseport?",
                                 "connect,127.0.0.1,9",
                                 "dissolve",
                                 "tcp4",
                                 "bind,127.0.0.1,PORT",
                                 "listen,5",
                                 "accept"};
  const std::string plain = calls_after_mark(operations, {}, false);
  CHECK(plain.find("accept4") != std::string::npos);
  CHECK(calls_after_mark(operations, {}, true) == plain);
}

TEST_CASE("a member's send, receive and accept cost no system call more") {
  FakeDaemon daemon(grant);
  const Environment environment = {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}};
  for (const Operations& operations :
       {Operations{"udp4", "bind,127.0.0.1,PORT", "mark", "datagram", "datagram"},
        Operations{"tcp4", "bind,127.0.0.1,PORT", "listen,5", "mark", "accept", "accept"}}) {
    const std::string plain = calls_after_mark(operations, {}, false);
    CHECK_FALSE(plain.empty());
    CHECK(calls_after_mark(operations, environment, true) == plain);
  }
  CHECK(daemon.seen().size() == 2);
}

// The first use of a socket that might have a sibling asks the kernel what it is; no other does.
TEST_CASE("with a spread, receiving costs no system call more from the second time on") {
  FakeDaemon daemon(grant);
  const Environment environment = {
      {"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}, {"SUBSET_SPREAD", "fork,dup"}};
  const Operations operations = {"udp4",    "bind,127.0.0.1,PORT", "datagram", "mark", "datagram",
                                 "datagram"};
  const std::string plain = calls_after_mark(operations, {}, false);
  CHECK_FALSE(plain.empty());
  CHECK(calls_after_mark(operations, environment, true) == plain);
}

TEST_CASE("it keeps no descriptor") {
  FakeDaemon daemon(grant);
  for (const std::string& path : {daemon.path(), scratch() + "/nobody"}) {
    const Result result = preload({"udp4", "descriptors", "bind,127.0.0.1," + free_port(), "get",
                                   "declare,2,1", "descriptors"},
                                  {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", path}});
    REQUIRE(result.out.size() == 5);
    CHECK(result.out.front() == result.out.back());
  }
}

TEST_CASE("a server that closes every descriptor, and gets its socket on the number of stderr") {
  FakeDaemon daemon(grant);
  const std::string port = free_port();
  const Operations operations = {"closeall",
                                 "udp4",
                                 "udp4",
                                 "bind,127.0.0.1," + port,
                                 "datagram",
                                 "tcp4",
                                 "bind,127.0.0.1," + port,
                                 "listen,5",
                                 "descriptors"};
  const std::string expected =
      "closeall ok | bind ok | datagram ok | bind ok | listen ok | descriptors 4";
  const Environment environment = {{"SUBSET", "0/2"}, {"SUBSET_LOG", "debug"}};
  const Result alone = preload(operations, environment);
  CHECK(alone.status == 0);
  CHECK(alone.said() == expected);
  Environment with_daemon = environment;
  with_daemon["SUBSET_SOCKET"] = daemon.path();
  CHECK(preload(operations, with_daemon).said() == expected);
  CHECK(daemon.seen().size() == 2);
}

TEST_CASE("a standard error that nobody reads does not kill the server") {
  const Result result =
      preload({"badstderr", "udp4", "bind,127.0.0.1," + free_port()}, {{"SUBSET", "0/2"}});
  CHECK(result.status == 0);
  CHECK(result.said() == "badstderr ok | bind ok");
}

TEST_CASE("a thousand binds") {
  FakeDaemon daemon(grant);
  const Result result = preload({"many,1000,127.0.0.1," + free_port()},
                                {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "many 1000");
  CHECK(daemon.seen().size() == 1000);
}

TEST_CASE("threads that bind at once") {
  FakeDaemon daemon(grant);
  const Result result = preload({"threads,32,127.0.0.1," + free_port()},
                                {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "threads 32");
  std::set<uint64_t> cookies;
  for (const Seen& seen : daemon.seen()) cookies.insert(seen.cookie);
  CHECK(cookies.size() == 32);
}

TEST_CASE("a thread that is cancelled comes back from bind, as without the shim") {
  FakeDaemon daemon(grant);
  for (const std::string& path : {daemon.path(), scratch() + "/nobody"})
    CHECK(preload({"cancelled,127.0.0.1," + free_port()},
                  {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", path}})
              .said() == "cancelled ok");
}

TEST_CASE("vfork, exec and posix_spawn") {
  FakeDaemon daemon(grant);
  const Result result = preload({"udp4", "bind,127.0.0.1," + free_port(), "vfork", "spawn"},
                                {{"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "bind ok | vfork ok | spawn ok");
  CHECK(daemon.seen().size() == 1);
}

TEST_CASE("a program that is executed with a cleaned environment has the shim all the same") {
  FakeDaemon daemon(grant);
  const std::string port = free_port();
  const Result result = preload({"cleanexec," + port, "cleanspawn," + port, "cleanspawnp," + port},
                                {{"SUBSET", "1/2"}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() ==
        "bind ok | cleanexec ok | bind ok | cleanspawn ok | bind ok | cleanspawnp ok");
  REQUIRE(daemon.seen().size() == 3);
  for (const Seen& seen : daemon.seen()) CHECK(seen.registration.wanted.instance == 1);
}

// The table of the spread knows numbers; whose they are now says the cookie.
TEST_CASE("a number whose socket waited for its first use is another socket's now") {
  FakeDaemon daemon(grant);
  const Environment environment = {
      {"SUBSET", "0/2"}, {"SUBSET_SOCKET", daemon.path()}, {"SUBSET_SPREAD", "fork,dup"}};
  const Result result = preload({"tcp4", "bind,127.0.0.1," + free_port(), "listen,5", "close",
                                 "udp4", "bind,127.0.0.1,0", "datagram", "datagram", "descriptors"},
                                environment);
  CHECK(result.said().find("bind ok | listen ok | bind ok | datagram ok | datagram ok") == 0);
  for (const Seen& seen : daemon.seen()) CHECK(seen.header.kind == subset::protocol::Kind::Query);
}

// The shortest of many, in turns, is what the machine's other work disturbs least. The limit is
// generous on purpose all the same: a busy machine must not decide a test.
TEST_CASE("what it adds to the start of a process") {
  auto plain = std::chrono::microseconds::max();
  auto preloaded = plain;
  for (int i = 0; i < 50; ++i) {
    plain = std::min(plain, start_once({}));
    preloaded = std::min(preloaded, start_once({{"LD_PRELOAD", shim_path()}, {"SUBSET", "0/2"}}));
  }
  const auto added = (preloaded - plain).count();
  MESSAGE("start-up: " << plain.count() << " us without, " << added << " us more with the shim");
  CHECK(added < 20'000);
}
