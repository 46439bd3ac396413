// SPDX-License-Identifier: MIT
#include "tests/system/harness/operator.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>

#include "tests/system/harness/control.h"
#include "tests/system/harness/fail.h"

namespace subset::test {
namespace {

Verdict put(const std::string& socket, const protocol::Change& message) {
  Connection connection = Connection::to(socket);
  if (!connection.send(bytes_of(message))) throw std::runtime_error("the daemon hung up");
  auto packet = connection.receive();
  if (!packet) throw std::runtime_error("the daemon hung up instead of answering");
  auto reply = packet->as<protocol::Reply>();
  return {reply.error, std::string(reply.text, strnlen(reply.text, sizeof reply.text))};
}

// The bare system call changes the calling thread alone (glibc's wrapper changes all threads), and
// SO_PEERCRED shows the credentials of the thread that connected.
template <typename Body>
void run_as(uid_t user, Body body) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      checked(syscall(SYS_setresuid, user, user, user), "setresuid");
      body();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace

Order drain(uint32_t instance) {
  return {.verb = protocol::Verb::Drain, .instance = instance};
}

Order resume(uint32_t instance) {
  return {.verb = protocol::Verb::Resume, .instance = instance};
}

Order weight(uint32_t instance, uint32_t value) {
  return {.verb = protocol::Verb::Weight, .instance = instance, .value = value};
}

Order activate() {
  return {.verb = protocol::Verb::Activate};
}

Order abandon() {
  return {.verb = protocol::Verb::Abandon};
}

Order mode(Mode mode) {
  return {.verb = protocol::Verb::SetMode, .value = static_cast<uint32_t>(mode)};
}

Verdict ask(const DaemonProcess& daemon, const std::string& group, const Order& order,
            std::optional<uid_t> user) {
  protocol::Change message;
  message.verb = order.verb;
  message.instance = order.instance;
  message.value = order.value;
  group.copy(message.group, sizeof message.group - 1);
  if (!user) return put(daemon.socket(), message);
  Verdict verdict;
  run_as(*user, [&] { verdict = put(daemon.socket(), message); });
  return verdict;
}

void tell(const DaemonProcess& daemon, const std::string& group, const Order& order) {
  Verdict verdict = ask(daemon, group, order);
  if (verdict.error != 0) throw std::runtime_error("the daemon refuses: " + verdict.text);
}

}  // namespace subset::test
