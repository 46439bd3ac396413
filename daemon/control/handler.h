// SPDX-License-Identifier: MIT
// What the control server hands to the daemon: requests that are well-formed and say who asks.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <variant>

#include "daemon/base/fd.h"
#include "protocol/message.h"

namespace subset::control {

struct Peer {
  pid_t pid = 0;  // 0: not visible from the daemon's pid namespace
  uid_t uid = 0;
  gid_t gid = 0;
};

using Message = std::variant<protocol::Register, protocol::Reclaim, protocol::OfSocket,
                             protocol::Status, protocol::Change, protocol::Follow>;

// One connection, for as long as somebody means to answer on it. Answering a peer that has gone is
// harmless; nothing here blocks: a peer that does not read is disconnected.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void reply(const protocol::Reply& reply) = 0;
  virtual void hand_over(const protocol::Reply& reply, int socket) = 0;  // stays the caller's
  virtual void document(const std::string& text) = 0;                    // in a sealed memfd
  virtual void event(const protocol::Event& event) = 0;
  virtual bool open() const = 0;  // has the peer hung up?
};

struct Request {
  Message message;
  Fd socket;  // for Register, Reclaim, Leave and Query: always there, of a kind not yet looked at
  Peer peer;
  std::shared_ptr<Connection> connection;
};

class Handler {
 public:
  virtual ~Handler() = default;
  virtual void handle(Request request) = 0;
};

}  // namespace subset::control
