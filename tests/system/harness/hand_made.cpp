// SPDX-License-Identifier: MIT
#include "tests/system/harness/hand_made.h"

#include <sys/socket.h>

#include "protocol/policy.h"
#include "tests/system/harness/fail.h"
#include "tests/system/servers/address.h"

namespace subset::test {

Fd shared_socket(const std::string& address) {
  const Address where(address);
  Fd socket(checked(::socket(where.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  const int yes = 1;
  checked(setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes), "SO_REUSEPORT");
  checked(bind(socket.get(), where.get(), where.size()), "bind");
  return socket;
}

protocol::Register registration(uint64_t lineage, uint32_t total, uint32_t instance) {
  protocol::Register message;
  message.wanted.lineage = lineage;
  message.wanted.total = total;
  message.wanted.instance = instance;
  message.wanted.weight = kDefaultWeight;
  return message;
}

std::optional<int> answer_to(const std::string& daemon, const std::string& message,
                             const std::vector<int>& descriptors, Clock::duration limit) {
  const Connection connection = Connection::to(daemon);
  connection.send(message, descriptors);
  const auto packet = connection.receive(limit);
  if (!packet) return std::nullopt;
  return packet->as<protocol::Reply>().error;
}

}  // namespace subset::test
