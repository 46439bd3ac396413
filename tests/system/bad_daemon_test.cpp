// SPDX-License-Identifier: MIT
// No daemon, one that hangs, and one that lies. The server must serve all the same, within a
// second, and say one line; with SUBSET_FALLBACK=fail it must be told why it cannot have its share.
//
// A daemon hangs in three ways, and each blocks another system call of a client: it accepts and
// never answers (recvmsg), it never accepts (recvmsg, while the kernel holds the connection), and
// its queue of connections is full (connect, which for AF_UNIX waits for as long as it takes).
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "protocol/message.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/fake_daemon.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/udp_flows.h"
#include "tests/system/harness/udp_server.h"

namespace subset::test {
namespace {

constexpr char kAddress[] = "127.0.0.1:5353";

// A second, and what a busy machine needs to start a process.
constexpr auto kLimit = 1s + 1s;

void check_works(const std::string& address) {
  UdpFlows flows(address, 8);
  CHECK(flows.exchange(10));
  CHECK(flows.oddities() == 0);
}

// One line about the daemon, nothing that a terminal would obey, and no other line.
void check_one_line(const std::string& err) {
  CAPTURE(err);
  CHECK(lines_with(err, "subset:").size() == 1);
  CHECK(lines_with(err, "").size() == 1);
  CHECK(err.find('\x1b') == std::string::npos);
}

void serves_with_one_warning(Machine& machine, const std::string& socket) {
  Time begun = Clock::now();
  UdpServer server(
      machine, {.id = 0, .addresses = {kAddress}, .environment = shim_environment(socket, "0/2")});
  CHECK(Clock::now() - begun < kLimit);
  check_one_line(server.process().err());
  check_works(kAddress);
  // stdin, stdout, stderr and its own socket: what the shim opened or was handed is closed.
  CHECK(descriptor_names(server.process().pid()).size() == 4);
}

void fails_with(Machine& machine, const std::string& socket, int error) {
  Environment environment = shim_environment(socket, "0/2");
  environment["SUBSET_FALLBACK"] = "fail";
  Time begun = Clock::now();
  auto server =
      run(machine, {.argv = udp_server_command(0, {kAddress}), .environment = environment});
  CHECK(Clock::now() - begun < kLimit);
  CAPTURE(server.err);
  CHECK(server.status == 1);
  CHECK(server.err.find(std::string("bind: ") + std::strerror(error)) != std::string::npos);
  CHECK(lines_with(server.err, "subset:").size() == 1);
}

// Reads the registration and answers with these bytes.
FakeDaemon::Behaviour answer(const std::string& bytes) {
  return [bytes](const Connection& connection) {
    connection.receive();
    connection.send(bytes);
    connection.receive();
  };
}

protocol::Reply honest_reply() {
  protocol::Reply reply;
  reply.total = 2;
  return reply;
}

std::string changed(const std::function<void(protocol::Reply&)>& change) {
  protocol::Reply reply = honest_reply();
  change(reply);
  return bytes_of(reply);
}

struct Lie {
  std::string name;
  FakeDaemon::Behaviour behaviour;
};

std::vector<Lie> lies() {
  std::string honest = bytes_of(honest_reply());
  return {
      {"hangs up at once", [](const Connection&) {}},
      {"hangs up after reading", [](const Connection& peer) { peer.receive(); }},
      {"an empty packet", answer("")},
      {"one byte", answer("x")},
      {"a header alone", answer(honest.substr(0, sizeof(protocol::Header)))},
      {"a reply cut off", answer(honest.substr(0, honest.size() - 1))},
      {"a reply too long", answer(honest + "x")},
      {"64 KiB of noise", answer(std::string(60'000, '\xa5'))},
      {"noise of the right size", answer(std::string(honest.size(), '\xa5'))},
      {"another magic", answer(changed([](auto& reply) { reply.header.magic++; }))},
      {"another version", answer(changed([](auto& reply) { reply.header.version++; }))},
      {"another kind",
       answer(changed([](auto& reply) { reply.header.kind = protocol::Kind::Event; }))},
      {"a size that is not its size", answer(changed([](auto& reply) { reply.header.size--; }))},
      {"a negative error", answer(changed([](auto& reply) { reply.error = -EPERM; }))},
      {"an error that is none", answer(changed([](auto& reply) { reply.error = 1'000'000; }))},
      {"a total of 0", answer(changed([](auto& reply) { reply.total = 0; }))},
      {"a total of 4097", answer(changed([](auto& reply) { reply.total = 4097; }))},
      {"an instance that there is not", answer(changed([](auto& reply) { reply.instance = 2; }))},
  };
}

TEST_SUITE("system") {
  TEST_CASE("where nobody listens, a server serves with one warning") {
    Machine machine;
    std::string nowhere = machine.file("nowhere");
    serves_with_one_warning(machine, nowhere);
    fails_with(machine, nowhere, ECONNREFUSED);

    std::string no_socket = machine.file("regular");
    Fd file(checked(open(no_socket.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666), no_socket));
    serves_with_one_warning(machine, no_socket);
    fails_with(machine, no_socket, ECONNREFUSED);
  }

  TEST_CASE("a daemon that accepts and says nothing costs a second") {
    Machine machine;
    FakeDaemon silent(machine, [](const Connection& peer) {
      while (peer.receive()) {
      }
    });
    serves_with_one_warning(machine, silent.socket());
    fails_with(machine, silent.socket(), ETIMEDOUT);
  }

  TEST_CASE("a daemon that does not accept costs a second") {
    Machine machine;
    std::string socket = machine.file("deaf");
    Fd listener = listen_at(socket);
    serves_with_one_warning(machine, socket);
    fails_with(machine, socket, ETIMEDOUT);
  }

  TEST_CASE("a daemon whose queue of connections is full costs a second") {
    Machine machine;
    std::string socket = machine.file("full");
    Fd listener = listen_at(socket);
    checked(listen(listener.get(), 0), "shorten the queue");
    Connection first = Connection::to(socket);  // a queue of length 0 takes one
    serves_with_one_warning(machine, socket);
    fails_with(machine, socket, ETIMEDOUT);
  }

  TEST_CASE("a daemon that lies is no daemon") {
    for (const Lie& lie : lies()) {
      CAPTURE(lie.name);
      Machine machine;
      FakeDaemon liar(machine, lie.behaviour);
      serves_with_one_warning(machine, liar.socket());
    }
  }

  // A descriptor that comes with the answer would stay open in the server for ever.
  TEST_CASE("descriptors that nobody asked for are not kept") {
    Machine machine;
    Fd gift(checked(open("/dev/null", O_RDONLY | O_CLOEXEC), "/dev/null"));
    FakeDaemon generous(machine, [&](const Connection& peer) {
      peer.receive();
      peer.send(bytes_of(honest_reply()), std::vector<int>(16, gift.get()));
      peer.receive();
    });
    UdpServer server(machine, {.id = 0,
                               .addresses = {kAddress},
                               .environment = shim_environment(generous.socket(), "0/2")});
    check_works(kAddress);
    CHECK(descriptor_names(server.process().pid()).size() == 4);
  }

  // A text for people comes from elsewhere: it is one line whatever is in it, also without the NUL
  // at its end. The error is real, so bind fails with it.
  TEST_CASE("a refusal with a hostile text is one clean line") {
    Machine machine;
    FakeDaemon rude(machine, answer(changed([](auto& reply) {
                      reply.error = EPERM;
                      std::memset(reply.text, 'A', sizeof reply.text);
                      std::memcpy(reply.text, "no\n\x1b[2J\rsubset: yes", 18);
                    })));
    auto server = run(machine, {.argv = udp_server_command(0, {kAddress}),
                                .environment = shim_environment(rude.socket(), "0/2")});
    CAPTURE(server.err);
    CHECK(server.status == 1);
    CHECK(server.err.find("bind: Operation not permitted") != std::string::npos);
    CHECK(lines_with(server.err, "").size() == 2);
    CHECK(server.err.find('\x1b') == std::string::npos);
    CHECK(server.err.find('\r') == std::string::npos);
  }
}

}  // namespace
}  // namespace subset::test
