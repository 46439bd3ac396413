// SPDX-License-Identifier: MIT
// SO_SUBSET, as section 3 of the design and so_subset.h promise it.
#include <errno.h>

#include <doctest/doctest.h>

#include "protocol/policy.h"
#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;

TEST_CASE("without the shim the kernel does not know the option") {
  const Result result = without_shim({"udp4", "declare,4,1", "get"});
  CHECK(result.said() == "declare ENOPROTOOPT | get ENOPROTOOPT");
}

TEST_CASE("a declaration is given back") {
  CHECK(preload({"udp4", "get", "declare,4,1", "get"}).said() ==
        "get ENOPROTOOPT | declare ok | get 1/4");
  CHECK(preload({"tcp6", "declare,4096,4095", "get", "declare,8,any", "get"}).said() ==
        "declare ok | get 4095/4096 | declare ok | get 4294967295/8");
}

TEST_CASE("a declaration makes the socket share its port") {
  CHECK(preload({"udp4", "declare,4,1", "reuseport?"}).said() == "declare ok | reuseport? 1");
}

TEST_CASE("getsockopt honours the length, as the kernel does") {
  CHECK(preload({"udp4", "declare,4,1", "get,4", "get,0", "get,64"}).said() ==
        "declare ok | get 0/4 length 4 | get 0/0 length 0 | get 1/4");
}

TEST_CASE("EINVAL: out of range, or another length") {
  CHECK(
      preload({"udp4", "declare,4,4", "declare,4097,0", "declare,4097,any", "declare,4294967295,1",
               "length,4", "length,0", "length,7", "length,9", "length,-1", "get"})
          .said() ==
      "declare EINVAL | declare EINVAL | declare EINVAL | declare EINVAL | length EINVAL | "
      "length EINVAL | length EINVAL | length EINVAL | length EINVAL | get ENOPROTOOPT");
}

TEST_CASE("EFAULT, EBADF, ENOTSOCK, EOPNOTSUPP") {
  CHECK(preload({"udp4", "null"}).said() == "null EFAULT");
  CHECK(preload({"none", "declare,4,1", "get"}).said() == "declare EBADF | get EBADF");
  CHECK(preload({"file", "declare,4,1", "get"}).said() == "declare ENOTSOCK | get ENOTSOCK");
  CHECK(preload({"unix", "declare,4,1", "get"}).said() == "declare EOPNOTSUPP | get EOPNOTSUPP");
}

TEST_CASE("MPTCP cannot be a member") {
  const Result result = preload({"mptcp", "declare,4,1"});
  // The kernel may have been built without it.
  CHECK((result.said() == "declare EOPNOTSUPP" ||
         result.said() == "mptcp EPROTONOSUPPORT | declare EBADF"));
}

TEST_CASE("total 0 leaves") {
  FakeDaemon daemon(grant);
  const Result result =
      preload({"udp4", "declare,4,1", "declare,0,0", "get", "bind,127.0.0.1," + free_port()},
              {{"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "declare ok | declare ok | get ENOPROTOOPT | bind ok");
  CHECK(daemon.seen().empty());
}

TEST_CASE("total 0 on a member tells the daemon, and beats the environment from then on") {
  FakeDaemon daemon(grant);
  const Result result =
      preload({"tcp4", "bind,127.0.0.1," + free_port(), "listen,5", "declare,0,0", "listen,6"},
              {{"SUBSET_SOCKET", daemon.path()}, {"SUBSET", "1/4"}});
  CHECK(result.said() == "bind ok | listen ok | declare ok | listen ok");
  const auto seen = daemon.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].header.kind == subset::protocol::Kind::Register);
  CHECK(seen[1].header.kind == subset::protocol::Kind::Leave);
  CHECK(seen[1].cookie == seen[0].cookie);
}

TEST_CASE("a declaration registers at bind for UDP, at listen for TCP") {
  FakeDaemon daemon(grant);
  const subset::test::Environment environment = {{"SUBSET_SOCKET", daemon.path()}};
  preload({"udp4", "declare,4,1", "bind,127.0.0.1,0"}, environment);
  preload({"tcp6", "declare,8,any", "bind,::1," + free_port(), "listen,5"}, environment);
  const auto seen = daemon.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].registration.wanted.total == 4);
  CHECK(seen[0].registration.wanted.instance == 1);
  CHECK_FALSE(seen[0].listening);
  CHECK(seen[1].registration.wanted.total == 8);
  CHECK(seen[1].registration.wanted.instance == subset::kAnyInstance);
  CHECK(seen[1].listening);
  CHECK(seen[0].registration.wanted.lineage != 0);
  CHECK(seen[0].registration.wanted.lineage != seen[1].registration.wanted.lineage);
}

TEST_CASE("on a bound socket the option joins and moves at once") {
  FakeDaemon daemon(grant);
  const Result result = preload(
      {"udp4", "reuseport,1", "bind,127.0.0.1," + free_port(), "declare,4,1", "declare,4,2", "get"},
      {{"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "reuseport ok | bind ok | declare ok | declare ok | get 2/4");
  const auto seen = daemon.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].cookie == seen[1].cookie);
  CHECK(seen[1].registration.wanted.instance == 2);
}

TEST_CASE("the assigned instance is given back") {
  FakeDaemon daemon(assign(5));
  const Result result = preload({"udp4", "declare,8,any", "bind,127.0.0.1," + free_port(), "get"},
                                {{"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "declare ok | bind ok | get 5/8");
}

TEST_CASE("what follows the environment is asked of the daemon") {
  FakeDaemon daemon(assign(5));
  const Result result = preload({"udp4", "bind,127.0.0.1," + free_port(), "get"},
                                {{"SUBSET_SOCKET", daemon.path()}, {"SUBSET", "auto/8"}});
  CHECK(result.said() == "bind ok | get 5/8");
  REQUIRE(daemon.seen().size() == 2);
  CHECK(daemon.seen()[1].header.kind == subset::protocol::Kind::Query);
}

TEST_CASE("the daemon's errno is the program's") {
  for (const auto& [error, name] :
       {std::pair{EBUSY, "EBUSY"}, {EINVAL, "EINVAL"}, {EPERM, "EPERM"}, {ENOSPC, "ENOSPC"}}) {
    FakeDaemon daemon(refuse(error, "no, because"));
    const subset::test::Environment environment = {{"SUBSET_SOCKET", daemon.path()}};
    const Result udp =
        preload({"udp4", "declare,4,1", "bind,127.0.0.1," + free_port()}, environment);
    CHECK(udp.said() == std::string("declare ok | bind ") + name);
    CHECK(udp.err == "subset: no, because\n");
    const Result move =
        preload({"udp4", "bind,127.0.0.1," + free_port(), "declare,4,1", "get"}, environment);
    CHECK(move.said() == std::string("bind ok | declare ") + name + " | get ENOPROTOOPT");
  }
}

TEST_CASE("a listen that is refused leaves no listener behind") {
  FakeDaemon daemon(refuse(EBUSY, "taken"));
  const std::string port = free_port();
  const Result result = preload({"tcp4", "declare,4,1", "bind,127.0.0.1," + port, "listen,5",
                                 "tcp4", "connect,127.0.0.1," + port},
                                {{"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "declare ok | bind ok | listen EBUSY | connect ECONNREFUSED");
}

TEST_CASE("a move that is refused leaves the declaration as it was") {
  FakeDaemon daemon([](int connection, const Seen& seen) {
    if (seen.registration.wanted.instance == 1)
      grant(connection, seen);
    else
      refuse(EBUSY, "taken")(connection, seen);
  });
  const Result result =
      preload({"udp4", "declare,4,1", "bind,127.0.0.1," + free_port(), "declare,4,2", "get"},
              {{"SUBSET_SOCKET", daemon.path()}});
  CHECK(result.said() == "declare ok | bind ok | declare EBUSY | get 1/4");
}

TEST_CASE("the example of four threads runs with the option, and without it says so") {
  FakeDaemon daemon(grant);
  const std::string port = free_port();
  const std::vector<std::string> command = {"timeout", "--preserve-status", "-s",        "INT",
                                            "0.5",     EXAMPLE_PATH,        "127.0.0.1", port};
  const Result plain = run_command(command);
  CHECK(plain.status == 0);
  CHECK(plain.out.at(0).find("SO_SUBSET is not there") == 0);
  CHECK(plain.out.back() == "thread 3 answered 0");
  const Result with_shim =
      run_command(command, {{"LD_PRELOAD", shim_path()}, {"SUBSET_SOCKET", daemon.path()}});
  CHECK(with_shim.status == 0);
  CHECK(with_shim.out.at(3) == "thread 3: instance 3 of 4");
  CHECK(daemon.seen().size() == 4);
}
