// SPDX-License-Identifier: MIT
#include "ctl/client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

namespace subset::ctl {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMaxDocument = uint64_t{1} << 28;  // a daemon that claims more is mistaken

bool nobody_there(int code) {
  return code == ENOENT || code == ECONNREFUSED;
}

Result<void> set_patience(int fd, milliseconds patience) {
  timeval limit{.tv_sec = patience.count() / 1000,
                .tv_usec = static_cast<suseconds_t>(patience.count() % 1000 * 1000)};
  for (int option : {SO_SNDTIMEO, SO_RCVTIMEO})
    if (setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit) != 0)
      return fail_errno("set a time limit");
  return {};
}

Result<Fd> open_connection(const std::string& path, milliseconds patience) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ENAMETOOLONG, "the path of a socket has 1 to 107 bytes, '" + path + "' has not");
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a socket");
  // connect() waits for a place in the listener's queue: SO_SNDTIMEO bounds that too.
  if (auto set = set_patience(socket.get(), patience); !set)
    return tl::make_unexpected(set.error());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("connect to the daemon at " + path);
  return socket;
}

Error silent(const std::string& path) {
  return Error{0, "the daemon at " + path + " does not answer: see its log, restart it"};
}

// In words that say what to do.
Error explain(Error error, const std::string& path) {
  if (nobody_there(error.code))
    return Error{0, "no daemon at " + path + ": start one: sudo subsetd"};
  if (error.code == EAGAIN || error.code == ETIMEDOUT) return silent(path);
  if (error.code == EACCES)
    return Error{0, "this user may not connect to " + path + ": ask who runs the daemon"};
  return error;
}

Error foreign(const std::string& path) {
  return Error{0, "what answers at " + path +
                      " speaks another protocol: use a subset and a subsetd of one version"};
}

// The one descriptor that came along, if any did.
Fd take_descriptor(msghdr& message) {
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(each), sizeof fd);
    return Fd(fd);
  }
  return {};
}

// At its own position: the descriptor shares the sender's file offset.
Result<std::string> read_document(int fd, uint64_t bytes) {
  std::string text(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    ssize_t got = pread(fd, text.data() + done, bytes - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read the daemon's document");
    if (got == 0) return fail(0, "the daemon's document is cut short");
    done += static_cast<size_t>(got);
  }
  return text;
}

std::string text_of(const protocol::Reply& reply) {
  return std::string(reply.text, strnlen(reply.text, sizeof reply.text));
}

Error refusal(const protocol::Reply& reply) {
  std::string text = text_of(reply);
  if (text.empty()) return fail_system(reply.error, "the daemon refuses").value();
  return Error{reply.error, std::move(text)};
}

template <typename Message>
std::optional<Message> message_as(std::span<const std::byte> packet, protocol::Kind kind) {
  Message message;
  if (packet.size() != sizeof message) return std::nullopt;
  std::memcpy(&message, packet.data(), sizeof message);
  const protocol::Header& header = message.header;
  bool ours = header.magic == protocol::kMagic && header.version == protocol::kVersion &&
              header.kind == kind && header.size == sizeof message;
  return ours ? std::optional(message) : std::nullopt;
}

}  // namespace

struct Client::Answer {
  std::byte packet[protocol::kMaxMessage];
  size_t size = 0;
  Fd descriptor;

  template <typename Message>
  std::optional<Message> as(protocol::Kind kind) const {
    return message_as<Message>(std::span(packet, size), kind);
  }
};

Result<Client> Client::connect(const std::string& path, milliseconds patience) {
  auto socket = open_connection(path, patience);
  if (!socket) return tl::make_unexpected(explain(socket.error(), path));
  return Client(std::move(*socket), path);
}

Result<void> Client::send_request(const void* request, size_t size) {
  if (send(socket_.get(), request, size, MSG_NOSIGNAL) < 0)
    return tl::make_unexpected(explain(fail_errno("ask the daemon at " + path_).value(), path_));
  return {};
}

// Of size 0: the daemon has hung up.
Result<Client::Answer> Client::hear() {
  Answer answer;
  iovec buffer{.iov_base = answer.packet, .iov_len = sizeof answer.packet};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{.msg_iov = &buffer,
                 .msg_iovlen = 1,
                 .msg_control = control,
                 .msg_controllen = sizeof control};
  ssize_t got = 0;
  do {
    got = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0)
    return tl::make_unexpected(
        explain(fail_errno("hear from the daemon at " + path_).value(), path_));
  answer.size = static_cast<size_t>(got);
  answer.descriptor = take_descriptor(message);
  return answer;
}

Result<Client::Answer> Client::ask(const void* request, size_t size) {
  if (auto sent = send_request(request, size); !sent) return tl::make_unexpected(sent.error());
  auto answer = hear();
  if (answer && answer->size == 0) return tl::make_unexpected(silent(path_));
  return answer;
}

Result<std::string> Client::status() {
  protocol::Status request;
  auto answer = ask(&request, sizeof request);
  if (!answer) return tl::make_unexpected(answer.error());
  if (auto document = answer->as<protocol::Document>(protocol::Kind::Document)) {
    if (!answer->descriptor || document->bytes > kMaxDocument)
      return tl::make_unexpected(foreign(path_));
    return read_document(answer->descriptor.get(), document->bytes);
  }
  if (auto reply = answer->as<protocol::Reply>(protocol::Kind::Reply))
    return tl::make_unexpected(refusal(*reply));
  return tl::make_unexpected(foreign(path_));
}

Result<std::string> Client::change(const protocol::Change& change) {
  auto answer = ask(&change, sizeof change);
  if (!answer) return tl::make_unexpected(answer.error());
  auto reply = answer->as<protocol::Reply>(protocol::Kind::Reply);
  if (!reply) return tl::make_unexpected(foreign(path_));
  if (reply->error == 0) return text_of(*reply);
  return tl::make_unexpected(refusal(*reply));
}

Result<void> Client::follow() {
  protocol::Follow request;
  return send_request(&request, sizeof request);
}

Result<std::optional<std::string>> Client::next_event() {
  auto answer = hear();
  if (!answer) return tl::make_unexpected(answer.error());
  if (answer->size == 0) return std::nullopt;
  if (auto event = answer->as<protocol::Event>(protocol::Kind::Event))
    return std::string(event->json, strnlen(event->json, sizeof event->json));
  if (auto reply = answer->as<protocol::Reply>(protocol::Kind::Reply))
    return tl::make_unexpected(refusal(*reply));
  return tl::make_unexpected(foreign(path_));
}

Result<bool> daemon_listens(const std::string& path) {
  auto socket = open_connection(path, std::chrono::seconds(1));
  if (socket) return true;
  // A full queue is somebody's queue.
  if (socket.error().code == EAGAIN) return true;
  if (nobody_there(socket.error().code)) return false;
  return tl::make_unexpected(explain(socket.error(), path));
}

}  // namespace subset::ctl
