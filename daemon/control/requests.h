// SPDX-License-Identifier: MIT
// Answers what is asked on the control socket: looks at the socket that came, asks the groups, and
// replies once the table is in force.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
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

  // To all who follow: one object of JSON, in a line.
  void tell(const std::string& event);

  // Of registrations, since the start.
  const std::map<std::string, uint64_t>& results() const { return results_; }
  const observe::DurationHistogram& durations() const { return durations_; }

 private:
  void answer(const protocol::Register& message, Request& request);
  void answer(const protocol::Reclaim& message, Request& request);
  void answer(const protocol::OfSocket& message, Request& request);
  void answer(const protocol::Status& message, Request& request);
  void answer(const protocol::Change& message, Request& request);
  void answer(const protocol::Follow& message, Request& request);

  Result<Groups::Joined> join(const protocol::Register& message, const Request& request);
  using Clock = std::chrono::steady_clock;
  void count(const Result<Groups::Joined>& joined);
  Result<void> leave(uint32_t flags, Cookie cookie, int socket);
  void reply_later(std::shared_ptr<Connection> connection, const protocol::Reply& reply,
                   GroupSerial group, std::optional<Clock::time_point> registering = {},
                   Fd socket = {});
  void reply_to_settled();
  void send_documents();

  Groups& groups_;
  observe::Sampler& sampler_;
  Loop& loop_;
  struct Waiting {
    std::shared_ptr<Connection> connection;
    protocol::Reply reply;
    GroupSerial group = 0;                         // what it waits for
    std::optional<Clock::time_point> registering;  // since when
    Fd socket;                                     // that goes along
  };
  std::vector<Waiting> waiting_;
  Loop::Handle rest_;  // of those who wait
  std::map<std::string, uint64_t> results_ = {
      {"joined", 0}, {"took_over", 0}, {"again", 0}, {"reclaimed", 0}, {"stale", 0}};
  observe::DurationHistogram durations_;
  Loop::Handle documents_;
  Clock::time_point next_document_;                   // not before
  std::vector<std::shared_ptr<Connection>> curious_;  // who waits for a status document
  std::vector<std::shared_ptr<Connection>> followers_;
};

}  // namespace subset::control
