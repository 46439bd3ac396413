// SPDX-License-Identifier: MIT
#include "daemon/http/server.h"

#include <microhttpd.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

namespace subset::http {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kStreamBlock = 4096;
constexpr auto kSweepPeriod = std::chrono::seconds(1);

// The page loads nothing from elsewhere, is in nobody's frame, and tells nobody where it was.
constexpr std::pair<const char*, const char*> kAlways[] = {
    {"Content-Security-Policy",
     "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

struct DestroyResponse {
  void operator()(MHD_Response* response) const { MHD_destroy_response(response); }
};
using ResponsePtr = std::unique_ptr<MHD_Response, DestroyResponse>;

void add_header(MHD_Response* response, const char* name, std::string_view value) {
  MHD_add_response_header(response, name, std::string(value).c_str());
}

std::string_view header_of(MHD_Connection* connection, const char* name) {
  const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value ? std::string_view(value) : std::string_view();
}

MHD_Result take_name(void* first, MHD_ValueKind, const char* name, const char*) {
  *static_cast<std::string_view*>(first) = name;
  return MHD_NO;  // enough
}

Request read_request(MHD_Connection* connection, const char* path) {
  Request request;
  request.path = path;
  request.host = header_of(connection, "Host");
  request.if_none_match = header_of(connection, "If-None-Match");
  request.last_event_id = header_of(connection, "Last-Event-ID");
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_name, &request.query);
  return request;
}

bool is_read(const char* method) {
  return std::strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
         std::strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
}

void release_owner(void* owner) {
  delete static_cast<std::shared_ptr<const void>*>(owner);
}

// The bytes are sent from where they are: many answers share what was rendered once.
ResponsePtr make_buffer(const Body& body) {
  auto owner = std::make_unique<std::shared_ptr<const void>>(body.owner);
  ResponsePtr response(MHD_create_response_from_buffer_with_free_callback_cls(
      body.bytes.size(), const_cast<char*>(body.bytes.data()), release_owner, owner.get()));
  if (response) owner.release();  // NOLINT(bugprone-unused-return-value): the response has it
  return response;
}

}  // namespace

struct Server::Parts {
  // A stream that is being sent. Owned by libmicrohttpd's response; `parts` outlives it.
  struct Sending {
    Parts* parts;
    MHD_Connection* connection;
    std::unique_ptr<Stream> stream;
    std::string pending;  // and how much of it has gone
    size_t sent = 0;
  };

  struct Connection {
    int fd = -1;
    Clock::time_point deadline;
    bool streams = false;
  };

  Parts(Loop& its_loop, Handler& its_handler, Address where, const Limits& its_limits)
      : loop(its_loop), handler(its_handler), address(std::move(where)), limits(its_limits) {}
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts();

  Result<void> start(Fd socket);
  void run();
  void run_later();
  void sweep();
  void resume_streams();

  MHD_Result answer(MHD_Connection* connection, const char* method, const char* path);
  Response decide(MHD_Connection* connection, const char* method, const char* path);
  ResponsePtr make_response(MHD_Connection* connection, Response& response);
  ResponsePtr make_stream(MHD_Connection* connection, std::unique_ptr<Stream> stream);
  void notify(MHD_Connection* connection, MHD_ConnectionNotificationCode code);
  void completed(MHD_Connection* connection);

  static MHD_Result on_request(void* self, MHD_Connection* connection, const char* path,
                               const char* method, const char* version, const char* upload,
                               size_t* upload_size, void** context);
  static void on_notify(void* self, MHD_Connection* connection, void** context,
                        MHD_ConnectionNotificationCode code) noexcept;
  static void on_completed(void* self, MHD_Connection* connection, void** context,
                           MHD_RequestTerminationCode code) noexcept;
  static ssize_t read_stream(void* sending, uint64_t position, char* buffer, size_t size);
  static void free_stream(void* sending);

  Loop& loop;
  Handler& handler;
  Address address;
  Limits limits;
  Counters counters;
  MHD_Daemon* daemon = nullptr;
  std::unordered_map<MHD_Connection*, Connection> connections;
  bool has_room_again = false;
  std::set<Sending*> sendings;
  std::set<Sending*> waiting;  // suspended
  Loop::Handle ready;
  Loop::Handle timer;
  Loop::Handle sweeper;
  Loop::Handle waking;
};

// --- in the loop --------------------------------------------------------------------------------

Result<void> Server::Parts::start(Fd socket) {
  daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, on_request, this,
      MHD_OPTION_LISTEN_SOCKET, socket.get(), MHD_OPTION_CONNECTION_LIMIT, limits.connections,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, limits.memory, MHD_OPTION_CONNECTION_TIMEOUT,
      static_cast<unsigned>(limits.idle.count()), MHD_OPTION_STRICT_FOR_CLIENT, 1,
      MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_NOTIFY_CONNECTION, on_notify, this,
      MHD_OPTION_NOTIFY_COMPLETED, on_completed, this, MHD_OPTION_END);
  if (!daemon) return fail(errno, "start libmicrohttpd");
  (void)socket.release();  // it closes it
  const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
  if (!info) return fail(ENOTSUP, "this libmicrohttpd has no epoll");
  ready = loop.watch(info->epoll_fd, POLLIN, [this](uint32_t) { run(); });
  return {};
}

void Server::Parts::run() {
  MHD_run(daemon);
  run_later();
}

// Its epoll set is edge-triggered inside: what it has not got to yet it tells by a timeout of 0.
// What it does not tell is that it looks at the listener again, which it left alone at the limit,
// only at the start of its next run.
void Server::Parts::run_later() {
  MHD_UNSIGNED_LONG_LONG milliseconds = 0;
  if (std::exchange(has_room_again, false))
    timer = loop.after(Loop::Duration::zero(), [this] { run(); });
  else if (MHD_get_timeout(daemon, &milliseconds) == MHD_YES)
    timer = loop.after(std::chrono::milliseconds(milliseconds), [this] { run(); });
  else
    timer.reset();
}

void Server::Parts::sweep() {
  const auto now = Clock::now();
  for (auto& [connection, state] : connections) {
    if (state.streams || now < state.deadline) continue;
    shutdown(state.fd, SHUT_RDWR);  // libmicrohttpd sees the end, and closes it
    state.deadline = Clock::time_point::max();
    counters.cut++;
  }
  resume_streams();
  if (connections.empty()) sweeper.reset();
}

void Server::Parts::resume_streams() {
  if (waiting.empty()) return;
  for (Sending* sending : std::exchange(waiting, {})) MHD_resume_connection(sending->connection);
  run();
}

Server::Parts::~Parts() {
  if (!daemon) return;
  // It gives up if any connection is suspended when it ends.
  for (Sending* sending : std::exchange(waiting, {})) MHD_resume_connection(sending->connection);
  ready.reset();
  MHD_stop_daemon(daemon);
}

// --- connections --------------------------------------------------------------------------------

void Server::Parts::notify(MHD_Connection* connection, MHD_ConnectionNotificationCode code) {
  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    if (connections.size() >= limits.connections) has_room_again = true;
    connections.erase(connection);
    return;
  }
  counters.connections++;
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  connections[connection] = {.fd = info ? info->connect_fd : -1,
                             .deadline = Clock::now() + limits.whole};
  if (!sweeper) sweeper = loop.every(kSweepPeriod, [this] { sweep(); });
}

void Server::Parts::completed(MHD_Connection* connection) {
  auto found = connections.find(connection);
  if (found == connections.end()) return;
  found->second.deadline = Clock::now() + limits.whole;
  found->second.streams = false;
}

// --- requests -----------------------------------------------------------------------------------

Response Server::Parts::decide(MHD_Connection* connection, const char* method, const char* path) {
  if (!is_read(method))
    return plain(MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD alone are served here\n");
  const Request request = read_request(connection, path);
  if (address.loopback() && !request.host.empty() && !is_address_or_localhost(request.host))
    return plain(MHD_HTTP_FORBIDDEN, "ask by address, or for localhost\n");
  try {
    Response response = handler.get(request);
    if (response.stream && sendings.size() >= limits.streams)
      return plain(MHD_HTTP_SERVICE_UNAVAILABLE, "too many streams are open\n");
    return response;
  } catch (const std::exception&) {  // of a library, such as no memory
    return plain(MHD_HTTP_INTERNAL_SERVER_ERROR, "this failed inside\n");
  }
}

ResponsePtr Server::Parts::make_stream(MHD_Connection* connection, std::unique_ptr<Stream> stream) {
  auto sending = std::make_unique<Sending>(Sending{this, connection, std::move(stream), {}, 0});
  ResponsePtr response(MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kStreamBlock,
                                                         read_stream, sending.get(), free_stream));
  if (!response) return response;
  sendings.insert(sending.release());
  connections[connection].streams = true;
  return response;
}

ResponsePtr Server::Parts::make_response(MHD_Connection* connection, Response& response) {
  ResponsePtr made = response.stream ? make_stream(connection, std::move(response.stream))
                                     : make_buffer(response.body);
  if (!made) return made;
  for (const auto& [name, value] : kAlways) add_header(made.get(), name, value);
  add_header(made.get(), MHD_HTTP_HEADER_CONTENT_TYPE, response.type);
  // no-cache: kept, but asked about each time. A new daemon may have another page.
  add_header(made.get(), MHD_HTTP_HEADER_CACHE_CONTROL,
             response.etag.empty() ? "no-store" : "no-cache");
  if (!response.etag.empty()) add_header(made.get(), MHD_HTTP_HEADER_ETAG, response.etag);
  if (response.status == MHD_HTTP_METHOD_NOT_ALLOWED)
    add_header(made.get(), MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  return made;
}

MHD_Result Server::Parts::answer(MHD_Connection* connection, const char* method, const char* path) {
  Response response = decide(connection, method, path);
  if (!response.etag.empty() &&
      header_of(connection, "If-None-Match").find(response.etag) != std::string_view::npos) {
    response.status = MHD_HTTP_NOT_MODIFIED;
    response.body = Body();
  }
  const ResponsePtr made = make_response(connection, response);
  if (!made) return MHD_NO;
  counters.responses[response.status]++;
  return MHD_queue_response(connection, response.status, made.get());
}

// --- streams ------------------------------------------------------------------------------------

// Nothing to send suspends the connection; with that it has no timeout either, until it is woken.
ssize_t Server::Parts::read_stream(void* closure, uint64_t, char* buffer, size_t size) try {
  auto* sending = static_cast<Sending*>(closure);
  if (sending->sent == sending->pending.size()) {
    auto next = sending->stream->next();
    if (!next) return MHD_CONTENT_READER_END_OF_STREAM;
    sending->pending = std::move(*next);
    sending->sent = 0;
  }
  if (sending->pending.empty()) {
    sending->parts->waiting.insert(sending);
    MHD_suspend_connection(sending->connection);
    return 0;
  }
  const size_t count = sending->pending.copy(buffer, size, sending->sent);
  sending->sent += count;
  return static_cast<ssize_t>(count);
} catch (const std::exception&) {
  return MHD_CONTENT_READER_END_WITH_ERROR;
}

void Server::Parts::free_stream(void* closure) {
  auto* sending = static_cast<Sending*>(closure);
  sending->parts->sendings.erase(sending);
  sending->parts->waiting.erase(sending);
  delete sending;
}

// --- libmicrohttpd's side: nothing is thrown through it -----------------------------------------

MHD_Result Server::Parts::on_request(void* self, MHD_Connection* connection, const char* path,
                                     const char* method, const char*, const char*,
                                     size_t* upload_size, void** context) try {
  // An answer before the second call would end the connection; a body is not read, and that one
  // ends.
  const bool first = *context == nullptr;
  *context = self;
  if (first && is_read(method)) return MHD_YES;
  if (*upload_size > 0) {
    *upload_size = 0;
    return MHD_YES;
  }
  return static_cast<Parts*>(self)->answer(connection, method, path);
} catch (const std::exception&) {
  return MHD_NO;
}

void Server::Parts::on_notify(void* self, MHD_Connection* connection, void**,
                              MHD_ConnectionNotificationCode code) noexcept {
  static_cast<Parts*>(self)->notify(connection, code);
}

void Server::Parts::on_completed(void* self, MHD_Connection* connection, void**,
                                 MHD_RequestTerminationCode) noexcept {
  static_cast<Parts*>(self)->completed(connection);
}

// --- the server's face --------------------------------------------------------------------------

Response plain(unsigned status, std::string_view text) {
  Response response;
  response.status = status;
  response.body = Body(text);
  return response;
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(Loop& loop, Handler& handler, Listening listening,
                                               Limits limits) {
  auto parts = std::make_unique<Parts>(loop, handler, std::move(listening.address), limits);
  if (auto started = parts->start(std::move(listening.socket)); !started)
    return tl::unexpected(started.error());
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

void Server::wake_streams() {
  Parts& parts = *parts_;
  if (!parts.sendings.empty() && !parts.waking) {
    parts.waking = parts.loop.after(Loop::Duration::zero(), [&parts] {
      parts.waking.reset();
      parts.resume_streams();
    });
  }
}

const Address& Server::address() const {
  return parts_->address;
}

const Counters& Server::counters() const {
  return parts_->counters;
}

}  // namespace subset::http
