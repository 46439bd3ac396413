// SPDX-License-Identifier: MIT
// The control socket's server: takes connections, reads requests, refuses what is malformed or too
// much, and hands the rest to the Handler. In the Loop, from its making to its destruction; it may
// not be destroyed inside Handler::handle.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "daemon/base/result.h"
#include "daemon/control/client.h"
#include "daemon/control/handler.h"
#include "daemon/control/limits.h"
#include "daemon/control/listener.h"
#include "daemon/control/users.h"
#include "daemon/loop/loop.h"

namespace subset::control {

// Since the start.
struct Counters {
  uint64_t connections = 0;
  uint64_t requests = 0;   // handed over
  uint64_t malformed = 0;  // packets that are none of this protocol, or bring no such socket
  uint64_t refused = 0;    // connections and requests beyond a limit
  uint64_t idle = 0;       // connections closed because nothing came
};

// A connection lives while its peer does. It is closed when the peer hangs up, sends something
// malformed or does not read; or when it neither asks nor waits for anything for Limits::idle:
// whoever keeps its shared_ptr means to answer, so it waits.
class Server {
 public:
  Server(Loop& loop, Handler& handler, Listener listener, Limits limits = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Takes connections that come to this one too.
  void listen_also(Listener listener);

  size_t connections() const { return sessions_.size(); }
  const Counters& counters() const { return counters_; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  struct Session {
    std::shared_ptr<Client> client;
    Peer peer;
    Time active;
    Loop::Handle watch;
  };

  struct Door {
    Listener listener;
    Loop::Handle accepting;  // the watch, or the timer of a pause
  };

  void watch(Door& door);
  void pause(Door& door);
  void accept_some(Door& door);
  void accept_one(Fd socket);
  void admit(std::shared_ptr<Client> client, const Peer& peer);

  void serve(uint64_t id);
  Result<void> take(Session& session, Packet& packet);

  bool had_its_turn(uid_t uid) const;
  void spend(uid_t uid, std::chrono::nanoseconds time);

  void end(uint64_t id);
  void dismiss(Client& client);
  void close_aside(Packet& packet);

  void sweep_later();
  void sweep();

  Loop& loop_;
  Handler& handler_;
  const Limits limits_;
  Users users_;
  Counters counters_;
  std::unordered_map<uid_t, std::chrono::nanoseconds> spent_;  // in this round, by user
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, Session> sessions_;
  std::list<Door> doors_;
  Loop::Handle sweeping_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // the end of a round may come later
};

}  // namespace subset::control
