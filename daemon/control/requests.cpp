// SPDX-License-Identifier: MIT
#include "daemon/control/requests.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include <spdlog/spdlog.h>

#include "daemon/control/client.h"
#include "daemon/kernel/process.h"
#include "daemon/kernel/socket_facts.h"

namespace subset::control {
namespace {

protocol::Reply reply_to(const Result<Groups::Joined>& result) {
  if (!result) return reply_with(result.error().code, result.error().message());
  protocol::Reply reply = reply_with(result->waits ? EINPROGRESS : 0, result->warning);
  reply.total = result->total;
  reply.instance = result->instance;
  reply.member = result->member;
  return reply;
}

protocol::Reply reply_to(const Result<void>& result) {
  if (!result) return reply_with(result.error().code, result.error().message());
  return reply_with(0, "");
}

Claim claim_of(const protocol::Wanted& wanted, const Peer& peer, const GroupKey& key,
               Cookie cookie) {
  Claim claim;
  claim.key = key;
  claim.cookie = cookie;
  claim.lineage = wanted.lineage;
  claim.total = wanted.total;
  claim.instance = wanted.instance;
  claim.elastic = (wanted.flags & protocol::kElastic) != 0;
  if (wanted.flags & protocol::kModeGiven) claim.mode = static_cast<Mode>(wanted.mode);
  if (wanted.flags & protocol::kVacancyGiven) claim.vacancy = static_cast<Vacancy>(wanted.vacancy);
  if (wanted.flags & protocol::kWeightGiven) claim.weight = wanted.weight;
  claim.conflict = static_cast<Conflict>(wanted.conflict);
  claim.tells_use = (wanted.flags & protocol::kTellsUse) != 0;
  claim.now = std::chrono::system_clock::now();
  claim.pid = peer.pid;
  claim.process_uid = peer.uid;
  if (peer.pid > 0) {
    claim.command = kernel::command_of(peer.pid);
    claim.cpus = kernel::affinity_of(peer.pid);
  }
  return claim;
}

// A request may have waited in the queue while no daemon ran. Then its sender has stopped waiting:
// it runs on, and is glad to be steered now; or it took the silence for a failure, or is gone
// altogether, and its socket, alive only in the message, must not push anybody aside.
bool stale(const protocol::Register& message, const Request& request) {
  if (request.connection->open()) return false;
  if (message.wanted.flags & protocol::kMustJoin) return true;
  return request.peer.pid <= 0 || !kernel::open_pidfd(request.peer.pid);
}

// What came of a registration, for those who count.
std::string result_of(const Result<Groups::Joined>& joined) {
  if (!joined) {
    const char* name = strerrorname_np(joined.error().code);
    return name ? name : "error";
  }
  if (joined->waits) return "waiting";
  if (joined->took_over) return "took_over";
  return joined->known ? "again" : "joined";
}

}  // namespace

void Requests::handle(Request request) {
  std::visit([&](const auto& message) { answer(message, request); }, request.message);
}

// Sent when its group has settled, at the end of the round as a rule: when bind() returns, steering
// is in place; and a batch of registrations is planned once.
void Requests::reply_later(std::shared_ptr<Connection> connection, const protocol::Reply& reply,
                           GroupSerial group, std::optional<Clock::time_point> registering,
                           Fd socket) {
  if (waiting_.empty()) {
    loop_.at_end_of_round([this] {
      groups_.settle();
      reply_to_settled();
    });
  }
  waiting_.push_back({std::move(connection), reply, group, registering, std::move(socket)});
}

// A connection is answered in the order in which it asked.
void Requests::reply_to_settled() {
  std::set<Connection*> behind;
  for (Waiting& waiting : std::exchange(waiting_, {})) {
    if (!groups_.settled(waiting.group) || behind.contains(waiting.connection.get())) {
      behind.insert(waiting.connection.get());
      waiting_.push_back(std::move(waiting));
      continue;
    }
    if (waiting.socket)
      waiting.connection->hand_over(waiting.reply, waiting.socket.get());
    else
      waiting.connection->reply(waiting.reply);
    if (waiting.registering)
      durations_.add(std::chrono::duration<double>(Clock::now() - *waiting.registering).count());
  }
  if (!waiting_.empty())
    rest_ = loop_.after(std::chrono::nanoseconds(0), [this] { reply_to_settled(); });
}

Result<Groups::Joined> Requests::join(const protocol::Register& message, const Request& request) {
  auto facts = kernel::inspect_socket(request.socket.get());
  if (!facts) return tl::unexpected(facts.error());
  if (auto joinable = kernel::check_joinable(*facts); !joinable)
    return tl::unexpected(joinable.error());
  return groups_.join(claim_of(message.wanted, request.peer, facts->key, facts->cookie),
                      request.socket.get());
}

// Who does not wait any more has bound a socket of its own by now.
void Requests::answer(const protocol::Reclaim& message, Request& request) {
  if (!request.connection->open()) return;
  const int unbound = request.socket.get();
  auto key =
      kernel::inspect_unbound(unbound, std::to_array(message.address), message.port, message.scope);
  if (!key) return request.connection->reply(reply_with(key.error().code, key.error().message()));
  auto reclaimed = groups_.reclaim(claim_of(message.wanted, request.peer, *key, 0), unbound);
  if (!reclaimed) {
    const Error& why = reclaimed.error();
    if (why.code != ENOENT)
      spdlog::warn("process {} of user {} gets no held socket: {}", request.peer.pid,
                   request.peer.uid, why.message());
    return request.connection->reply(reply_with(why.code, why.message()));
  }
  results_["reclaimed"]++;
  const GroupSerial group = reclaimed->joined.group;
  const Result<Groups::Joined> joined = std::move(reclaimed->joined);
  reply_later(std::move(request.connection), reply_to(joined), group, {},
              std::move(reclaimed->socket));
}

void Requests::count(const Result<Groups::Joined>& joined) {
  results_[result_of(joined)]++;
}

void Requests::answer(const protocol::Register& message, Request& request) {
  if (stale(message, request)) {
    results_["stale"]++;
    return;
  }
  const auto begun = Clock::now();
  auto joined = join(message, request);
  count(joined);
  if (!joined)
    spdlog::warn("process {} of user {} is refused: {}", request.peer.pid, request.peer.uid,
                 joined.error().message());
  reply_later(std::move(request.connection), reply_to(joined), joined ? joined->group : 0, begun);
}

void Requests::answer(const protocol::OfSocket& message, Request& request) {
  auto facts = kernel::inspect_socket(request.socket.get());
  if (!facts)
    return request.connection->reply(reply_with(facts.error().code, facts.error().message()));
  if (message.header.kind == protocol::Kind::Query)
    return request.connection->reply(reply_to(groups_.query(facts->cookie)));
  const GroupSerial group = groups_.serial_of(facts->cookie);
  reply_later(std::move(request.connection),
              reply_to(leave(message.flags, facts->cookie, request.socket.get())), group);
}

Result<void> Requests::leave(uint32_t flags, Cookie cookie, int socket) {
  if (flags & protocol::kParked) return groups_.park(cookie, socket);
  if (flags & protocol::kLastOnly) return groups_.leave_before_close(cookie, socket);
  return groups_.leave(cookie, socket);
}

void Requests::answer(const protocol::Status&, Request& request) {
  // Made once for all who ask, and then not again for ten times as long as it took: looking at all
  // groups takes milliseconds, and those who want to join must not wait for it often.
  if (curious_.empty()) {
    const auto pause = next_document_ - Clock::now();
    if (pause <= Clock::duration::zero())
      loop_.at_end_of_round([this] { send_documents(); });
    else
      documents_ = loop_.after(pause, [this] { send_documents(); });
  }
  curious_.push_back(std::move(request.connection));
}

void Requests::send_documents() {
  constexpr int kPauseFactor = 10;
  const auto begun = Clock::now();
  const std::string document = observe::to_json(*sampler_.fresh());
  for (const auto& asker : std::exchange(curious_, {})) asker->document(document);
  next_document_ = Clock::now() + kPauseFactor * (Clock::now() - begun);
}

void Requests::answer(const protocol::Change& message, Request& request) {
  auto changed = groups_.change(message, request.peer.uid);
  if (!changed)
    spdlog::warn("user {} is refused a change: {}", request.peer.uid, changed.error().message());
  const std::string id(message.group, strnlen(message.group, sizeof message.group));
  reply_later(std::move(request.connection), reply_to(changed), groups_.serial_of(id));
}

void Requests::answer(const protocol::Follow&, Request& request) {
  std::erase_if(followers_, [](const auto& follower) { return !follower->open(); });
  if (std::ranges::find(followers_, request.connection) == followers_.end())
    followers_.push_back(std::move(request.connection));
}

void Requests::tell(const std::string& text) {
  std::erase_if(followers_, [](const auto& follower) { return !follower->open(); });
  if (followers_.empty()) return;
  protocol::Event event;
  text.copy(event.json, sizeof event.json - 1);
  for (const auto& follower : followers_) follower->event(event);
}

}  // namespace subset::control
