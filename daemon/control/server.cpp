// SPDX-License-Identifier: MIT
#include "daemon/control/server.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "daemon/control/decode.h"

namespace subset::control {
namespace {

using Clock = std::chrono::steady_clock;

// While no daemon runs, much may wait for the next one.
constexpr int kWaitingForTheNext = 4096;

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
    return fail_errno("ask who connected");
  }
  return Peer{credentials.pid, credentials.uid, credentials.gid};
}

Result<int> option_of(int socket, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (getsockopt(socket, SOL_SOCKET, option, &value, &size) < 0) {
    return fail_errno("look at the descriptor");
  }
  return value;
}

bool is_connected(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
}

// Only sockets go further that may be members, because only their close is known not to wait: the
// handler closes them in the daemon's only thread. A connected stream may have SO_LINGER.
Result<void> check_socket(int fd) {
  auto domain = option_of(fd, SO_DOMAIN);
  if (!domain) return tl::unexpected(std::move(domain.error()));
  auto protocol = option_of(fd, SO_PROTOCOL);
  if (!protocol) return tl::unexpected(std::move(protocol.error()));
  bool is_inet = *domain == AF_INET || *domain == AF_INET6;
  bool is_member_kind = *protocol == IPPROTO_UDP || (*protocol == IPPROTO_TCP && !is_connected(fd));
  if (is_inet && is_member_kind) return {};
  return fail(EOPNOTSUPP, "only UDP sockets and unconnected TCP sockets, of IPv4 or IPv6, join");
}

Result<Message> parse(const Packet& packet) {
  if (packet.larger) {
    return fail(EPROTO, "message of more than " + std::to_string(protocol::kMaxMessage) + " bytes");
  }
  if (packet.lost) return fail(EMFILE, "a descriptor could not be received");
  auto message = decode(packet.bytes(), packet.descriptors.size());
  if (!message || packet.descriptors.empty()) return message;
  if (auto good = check_socket(packet.descriptors.front().get()); !good) {
    return tl::unexpected(std::move(good.error()));
  }
  return message;
}

}  // namespace

Server::Server(Loop& loop, Handler& handler, Listener listener, Limits limits)
    : loop_(loop), handler_(handler), limits_(limits), users_(limits) {
  listen_also(std::move(listener));
}

Server::~Server() {
  for (auto& [id, session] : sessions_) {
    session.watch.reset();
    dismiss(*session.client);
  }
  for (Door& door : doors_) listen(door.listener.fd(), kWaitingForTheNext);
}

// --- connections come

void Server::listen_also(Listener listener) {
  listen(listener.fd(), limits_.waiting);
  watch(doors_.emplace_back(Door{std::move(listener), {}}));
}

void Server::watch(Door& door) {
  door.accepting =
      loop_.watch(door.listener.fd(), POLLIN, [this, &door](uint32_t) { accept_some(door); });
}

// The listener stays ready while connections wait: without a pause the loop would spin.
void Server::pause(Door& door) {
  door.accepting = loop_.after(limits_.accept_pause, [this, &door] { watch(door); });
}

void Server::accept_some(Door& door) {
  for (unsigned i = 0; i < limits_.accepts_per_round; ++i) {
    Fd socket(accept4(door.listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      accept_one(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) pause(door);
    return;
  }
}

// Peers that have hung up since are taken like others: what they asked is in the queue, and the
// descriptor in it is good.
void Server::accept_one(Fd socket) {
  ++counters_.connections;
  auto peer = peer_of(socket.get());
  if (!peer) return;
  auto client = std::make_shared<Client>(std::move(socket));
  auto admitted = users_.connect(peer->uid, Clock::now());
  if (admitted) return admit(std::move(client), *peer);
  ++counters_.refused;
  client->reply(reply_with(admitted.error().code, admitted.error().context));
  dismiss(*client);
}

void Server::admit(std::shared_ptr<Client> client, const Peer& peer) {
  uint64_t id = ++last_id_;
  int fd = client->fd();
  auto watch = loop_.watch(fd, POLLIN, [this, id](uint32_t) { serve(id); });
  sessions_.emplace(id, Session{std::move(client), peer, Clock::now(), std::move(watch)});
  sweep_later();
}

// --- requests come

void Server::serve(uint64_t id) {
  Session& session = sessions_.at(id);
  for (unsigned i = 0; i < limits_.packets_per_round; ++i) {
    if (session.client->cut_off()) return end(id);
    if (had_its_turn(session.peer.uid)) return;  // it is called again in the next round
    auto packet = session.client->receive();
    if (!packet && packet.error().code == EAGAIN) return;
    if (!packet) return end(id);
    const auto begun = Clock::now();
    auto taken = take(session, *packet);
    close_aside(*packet);
    spend(session.peer.uid, Clock::now() - begun);
    if (taken) continue;
    session.client->reply(reply_with(taken.error().code, taken.error().context));
    return end(id);
  }
}

// A request costs what it makes the daemon do: a new group a thousand times as much as a question.
bool Server::had_its_turn(uid_t uid) const {
  auto found = spent_.find(uid);
  return uid != 0 && found != spent_.end() && found->second >= limits_.time_per_round;
}

void Server::spend(uid_t uid, std::chrono::nanoseconds time) {
  if (spent_.empty()) {
    loop_.at_end_of_round([alive = std::weak_ptr(alive_), this] {
      if (!alive.expired()) spent_.clear();
    });
  }
  spent_[uid] += time;
}

Result<void> Server::take(Session& session, Packet& packet) {
  auto now = Clock::now();
  auto message = parse(packet);
  if (!message) {
    ++counters_.malformed;
    return tl::unexpected(std::move(message.error()));
  }
  if (auto granted = users_.request(session.peer.uid, now); !granted) {
    ++counters_.refused;
    return granted;
  }
  session.active = now;
  ++counters_.requests;
  // decode() saw to it that there is one descriptor, or none.
  Fd socket = packet.descriptors.empty() ? Fd() : std::move(packet.descriptors.front());
  handler_.handle({*message, std::move(socket), session.peer, session.client});
  return {};
}

// --- connections go

void Server::end(uint64_t id) {
  auto found = sessions_.find(id);
  Session session = std::move(found->second);
  sessions_.erase(found);
  session.watch.reset();
  users_.disconnect(session.peer.uid);
  dismiss(*session.client);
}

// A socket that is closed over unread packets gives its peer ECONNRESET before the answer that is
// on its way, so they are taken. Whoever queued very many gets that, and the kernel's worker the
// work.
void Server::dismiss(Client& client) {
  client.hang_up();
  for (unsigned i = 0; i < limits_.packets_per_round; ++i) {
    auto packet = client.receive();
    if (!packet) return client.take_socket().reset();
    close_aside(*packet);
  }
  loop_.close_aside(client.take_socket());
}

void Server::close_aside(Packet& packet) {
  for (Fd& descriptor : packet.descriptors) loop_.close_aside(std::move(descriptor));
}

void Server::sweep_later() {
  if (!sweeping_) sweeping_ = loop_.after(limits_.idle / 4, [this] { sweep(); });
}

void Server::sweep() {
  sweeping_.reset();
  auto now = Clock::now();
  std::vector<uint64_t> idle;
  for (auto& [id, session] : sessions_) {
    if (session.client.use_count() > 1) {
      session.active = now;
    } else if (now - session.active >= limits_.idle) {
      idle.push_back(id);
    }
  }
  counters_.idle += idle.size();
  for (uint64_t id : idle) end(id);
  users_.forget(now);
  if (!sessions_.empty() || !users_.empty()) sweep_later();
}

}  // namespace subset::control
