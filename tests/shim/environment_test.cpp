// SPDX-License-Identifier: MIT
// Servers that never heard of the option: what SUBSET_* makes of their binds and listens.
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include <functional>

#include <doctest/doctest.h>

#include "daemon/base/fd.h"
#include "protocol/policy.h"
#include "tests/shim/fake_daemon.h"
#include "tests/shim/run.h"

using namespace subset::test;
using subset::protocol::Kind;

namespace {

Environment with(const FakeDaemon& daemon, Environment more) {
  more.emplace("SUBSET_SOCKET", daemon.path());
  return more;
}

// Somebody else's sockets on that port, UDP's and a listener.
class Holder {
 public:
  explicit Holder(const std::string& port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (const subset::Fd& each : {std::cref(udp_), std::cref(tcp_)})
      REQUIRE(bind(each.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(tcp_.get(), 1) == 0);
  }

 private:
  subset::Fd udp_{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  subset::Fd tcp_{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

}  // namespace

TEST_CASE("the environment makes a UDP bind join") {
  FakeDaemon daemon(grant);
  const Result result = preload({"udp4", "bind,127.0.0.1," + free_port(), "reuseport?"},
                                with(daemon, {{"SUBSET", "3/8"},
                                              {"SUBSET_MODE", "cpu"},
                                              {"SUBSET_VACANCY", "refuse"},
                                              {"SUBSET_CONFLICT", "refuse"},
                                              {"SUBSET_WEIGHT", "7"},
                                              {"SUBSET_FALLBACK", "fail"},
                                              {"SUBSET_LINEAGE", "00000000000000ff"}}));
  CHECK(result.said() == "bind ok | reuseport? 1");
  CHECK(result.err.empty());
  REQUIRE(daemon.seen().size() == 1);
  const Seen seen = daemon.seen()[0];
  CHECK(seen.size == sizeof(subset::protocol::Register));
  CHECK(seen.header.magic == subset::protocol::kMagic);
  CHECK(seen.header.version == subset::protocol::kVersion);
  CHECK(seen.header.kind == Kind::Register);
  CHECK(seen.header.size == sizeof(subset::protocol::Register));
  CHECK(seen.cookie != 0);
  CHECK(seen.registration.wanted.lineage == 0xff);
  CHECK(seen.registration.wanted.total == 8);
  CHECK(seen.registration.wanted.instance == 3);
  CHECK(seen.registration.wanted.weight == 7);
  CHECK(seen.registration.wanted.mode == static_cast<uint8_t>(subset::Mode::Cpu));
  CHECK(seen.registration.wanted.vacancy == static_cast<uint8_t>(subset::Vacancy::Refuse));
  CHECK(seen.registration.wanted.conflict == static_cast<uint8_t>(subset::Conflict::Refuse));
  CHECK(seen.registration.wanted.flags ==
        (subset::protocol::kModeGiven | subset::protocol::kVacancyGiven |
         subset::protocol::kWeightGiven | subset::protocol::kMustJoin |
         subset::protocol::kTellsUse));
}

TEST_CASE("SUBSET=auto is elastic, unless the program declares") {
  FakeDaemon daemon(assign(0));
  preload({"udp4", "bind,127.0.0.1," + free_port()}, with(daemon, {{"SUBSET", "auto"}}));
  preload({"udp4", "declare,4,1", "bind,127.0.0.1," + free_port()},
          with(daemon, {{"SUBSET", "auto"}}));
  const auto seen = daemon.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].registration.wanted.flags ==
        (subset::protocol::kElastic | subset::protocol::kTellsUse));
  CHECK(seen[0].registration.wanted.total == 0);
  CHECK(seen[0].registration.wanted.instance == subset::kAnyInstance);
  CHECK(seen[1].registration.wanted.flags == subset::protocol::kTellsUse);
  CHECK(seen[1].registration.wanted.total == 4);
}

TEST_CASE("SO_REUSEPORT is on at bind, whatever the server said before") {
  FakeDaemon daemon(grant);
  const Result result =
      preload({"udp4", "reuseport,0", "bind,127.0.0.1," + free_port(), "reuseport?"},
              with(daemon, {{"SUBSET", "0/2"}}));
  CHECK(result.said() == "reuseport ok | bind ok | reuseport? 1");
}

TEST_CASE("a TCP server joins at each listen") {
  FakeDaemon daemon(grant);
  const Result result =
      preload({"tcp6", "bind,::," + free_port(), "listen,5", "listen,10", "shutdown", "listen,5"},
              with(daemon, {{"SUBSET", "0/2"}}));
  CHECK(result.said() == "bind ok | listen ok | listen ok | shutdown ok | listen ok");
  auto seen = daemon.seen();
  std::erase_if(seen, [](const Seen& one) {  // before the shutdown there is more to say
    return one.header.kind != subset::protocol::Kind::Register;
  });
  REQUIRE(seen.size() == 3);
  for (const Seen& one : seen) {
    CHECK(one.cookie == seen[0].cookie);
    CHECK(one.listening);
  }
}

TEST_CASE("sockets that do not match, ports of the kernel's choice and clients are left alone") {
  FakeDaemon daemon(grant);
  const std::string port = free_port();
  const Environment environment = with(daemon, {{"SUBSET", "0/2"}, {"SUBSET_MATCH", "tcp:1"}});
  CHECK(preload({"udp4", "bind,127.0.0.1," + port, "reuseport?", "tcp4", "bind,127.0.0.1," + port,
                 "reuseport?", "listen,5"},
                environment)
            .said() == "bind ok | reuseport? 0 | bind ok | reuseport? 0 | listen ok");
  CHECK(preload({"udp4", "bind,127.0.0.1,0", "reuseport?", "tcp4", "bind,127.0.0.1,0", "listen,5",
                 "reuseport?", "unix", "file", "bind,127.0.0.1,1", "udp4", "connect,127.0.0.1,9"},
                with(daemon, {{"SUBSET", "0/2"}}))
            .said() ==
        "bind ok | reuseport? 0 | bind ok | listen ok | reuseport? 0 | bind ENOTSOCK | connect ok");
  CHECK(daemon.seen().empty());
}

TEST_CASE("errors of the kernel are passed on") {
  FakeDaemon daemon(grant);
  CHECK(preload({"udp4", "bind,192.0.2.1," + free_port(), "bind,::1,80", "none", "listen,1"},
                with(daemon, {{"SUBSET", "0/2"}}))
            .said() == "bind EADDRNOTAVAIL | bind EAFNOSUPPORT | listen EBADF");
  CHECK(daemon.seen().empty());
}

TEST_CASE("a port that is in use: one line names it, and how to see whose it is") {
  const std::string port = free_port();
  const Holder holder(port);
  const std::string bind = "bind,127.0.0.1," + port;
  const Result udp = preload({"udp4", bind, bind}, {{"SUBSET", "0/2"}});
  CHECK(udp.said() == "bind EADDRINUSE | bind EADDRINUSE");
  CHECK(udp.err == "subset: udp port " + port +
                       " is in use by a socket that does not share it, or is another user's: "
                       "ss -lnup 'sport = :" +
                       port + "' shows whose\n");
  const Result tcp = preload({"tcp4", bind}, {{"SUBSET", "0/2"}});
  CHECK(tcp.said() == "bind EADDRINUSE");
  CHECK(tcp.err.find("ss -lntp 'sport = :" + port + "'") != std::string::npos);
}

TEST_CASE("a lineage is kept over fork") {
  FakeDaemon daemon(grant);
  preload(
      {"udp4", "bind,127.0.0.1," + free_port(), "fork", "udp4", "bind,127.0.0.1," + free_port()},
      with(daemon, {{"SUBSET", "0/2"}}));
  const auto seen = daemon.seen();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].registration.wanted.lineage != 0);
  CHECK(seen[0].registration.wanted.lineage == seen[1].registration.wanted.lineage);
  CHECK(seen[0].cookie != seen[1].cookie);
}

TEST_CASE("a value that does not parse: one clear line, and EINVAL for every candidate") {
  const std::string port = free_port();
  const Result result = preload({"udp4", "bind,127.0.0.1," + port, "bind,127.0.0.1," + port, "tcp4",
                                 "bind,127.0.0.1," + port, "udp4", "bind,127.0.0.1,0"},
                                {{"SUBSET", "9/8"}});
  CHECK(result.said() == "bind EINVAL | bind EINVAL | bind EINVAL | bind ok");
  CHECK(result.err ==
        "subset: SUBSET=9/8: expected I/N, auto/N or auto, with I below N and N at most 4096\n");
  CHECK(preload({"udp4", "bind,127.0.0.1," + port}, {{"SUBSET", "9/8"}, {"SUBSET_LOG", "off"}})
            .err.empty());
  CHECK(
      preload({"udp4", "bind,127.0.0.1," + port}, {{"SUBSET", "0/8"}, {"SUBSET_PIN", "yes"}}).err ==
      "subset: SUBSET_PIN=yes: expected 0 or 1\n");
}

TEST_CASE("with SUBSET unset a bad value shows at the first use of the option") {
  const std::string port = free_port();
  const Result result =
      preload({"udp4", "bind,127.0.0.1," + port, "udp4", "declare,4,1"}, {{"SUBSET_MODE", "fast"}});
  CHECK(result.said() == "bind ok | declare EINVAL");
  CHECK(result.err ==
        "subset: SUBSET_MODE=fast: expected hash, source, random, cpu, numa or least\n");
}

TEST_CASE("SUBSET_LOG=info tells of joins, and warnings of the daemon are shown") {
  FakeDaemon daemon(assign(3, "look out"));
  const std::string port = free_port();
  const Operations operations = {"udp4", "bind,127.0.0.1," + port};
  CHECK(preload(operations, with(daemon, {{"SUBSET", "3/8"}, {"SUBSET_LOG", "info"}})).err ==
        "subset: look out\nsubset: joined 3/8 of udp port " + port + ", member 0\n");
  CHECK(preload(operations, with(daemon, {{"SUBSET", "3/8"}})).err == "subset: look out\n");
  CHECK(
      preload(operations, with(daemon, {{"SUBSET", "3/8"}, {"SUBSET_LOG", "error"}})).err.empty());
}

TEST_CASE("SUBSET_PIN pins the process to the CPUs of its instance") {
  FakeDaemon daemon(grant);
  const std::string all = without_shim({"cpus"}).said();
  const Operations operations = {"udp4", "bind,127.0.0.1," + free_port(), "cpus"};
  CHECK(preload(operations, with(daemon, {{"SUBSET", "0/4096"}, {"SUBSET_PIN", "1"}})).said() ==
        "bind ok | cpus 1");
  CHECK(preload(operations, with(daemon, {{"SUBSET", "0/1"}, {"SUBSET_PIN", "1"}})).said() ==
        "bind ok | " + all);
  CHECK(preload(operations, with(daemon, {{"SUBSET", "0/4096"}})).said() == "bind ok | " + all);
}

TEST_CASE("SO_REUSEPORT=0 on a member is swallowed, its wrong lengths are not") {
  FakeDaemon daemon(grant);
  const Result result = preload(
      {"udp4", "bind,127.0.0.1," + free_port(), "reuseport,0", "reuseport?", "reuseport,0,2",
       "udp4", "bind,127.0.0.1,0", "reuseport,1", "reuseport,0", "reuseport?"},
      with(daemon, {{"SUBSET", "0/2"}}));
  CHECK(result.said() ==
        "bind ok | reuseport ok | reuseport? 1 | reuseport EINVAL | bind ok | reuseport ok | "
        "reuseport ok | reuseport? 0");
}

TEST_CASE("connect(AF_UNSPEC) cannot make a member take its group's traffic") {
  FakeDaemon daemon(grant);
  const Environment environment = with(daemon, {{"SUBSET", "0/2"}});
  const std::string port = free_port();
  // Not connected: nothing to dissolve. Connected, with the any-address: refused, with a line.
  const Result any = preload(
      {"udp4", "bind,0.0.0.0," + port, "dissolve", "datagram", "connect,127.0.0.1,9", "dissolve"},
      environment);
  CHECK(any.said() == "bind ok | dissolve ok | datagram ok | connect ok | dissolve EOPNOTSUPP");
  CHECK(any.err.find("connect(AF_UNSPEC)") != std::string::npos);
  // An address of its own: the kernel keeps it, and nobody is harmed.
  CHECK(preload({"udp4", "bind,127.0.0.1," + port, "connect,127.0.0.1,9", "dissolve"}, environment)
            .said() == "bind ok | connect ok | dissolve ok");
  // No member.
  CHECK(
      preload({"udp4", "bind,0.0.0.0,0", "connect,127.0.0.1,9", "dissolve"}, environment).said() ==
      "bind ok | connect ok | dissolve ok");
}
