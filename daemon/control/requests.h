// SPDX-License-Identifier: MIT
// Answers what is asked on the control socket: looks at the socket that came, asks the groups, and
// replies once the table is in force.
#pragma once

#include <memory>
#include <vector>

#include "daemon/control/handler.h"
#include "daemon/groups/groups.h"
#include "daemon/loop/loop.h"
#include "daemon/observe/sampler.h"

namespace subset::control {

class Requests final : public Handler {
 public:
  Requests(Groups& groups, observe::Sampler& sampler, Loop& loop)
      : groups_(groups), sampler_(sampler), loop_(loop) {}

  void handle(Request request) override;

  // To all who follow.
  void tell(const Happening& happening);

 private:
  void answer(const protocol::Register& message, Request& request);
  void answer(const protocol::OfSocket& message, Request& request);
  void answer(const protocol::Status& message, Request& request);
  void answer(const protocol::Change& message, Request& request);
  void answer(const protocol::Follow& message, Request& request);

  Result<Groups::Joined> join(const protocol::Register& message, const Request& request);
  void reply_later(std::shared_ptr<Connection> connection, const protocol::Reply& reply);

  Groups& groups_;
  observe::Sampler& sampler_;
  Loop& loop_;
  struct Waiting {
    std::shared_ptr<Connection> connection;
    protocol::Reply reply;
  };
  std::vector<Waiting> waiting_;
  std::vector<std::shared_ptr<Connection>> curious_;  // who waits for a status document
  std::vector<std::shared_ptr<Connection>> followers_;
};

}  // namespace subset::control
