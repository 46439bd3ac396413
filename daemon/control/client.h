// SPDX-License-Identifier: MIT
// One accepted connection of the control socket: what comes in, and how it is answered.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/control/handler.h"

namespace subset::control {

// An answer that carries an errno and text, cut to fit.
protocol::Reply reply_with(int error, std::string_view text);

struct Packet {
  std::array<std::byte, protocol::kMaxMessage> room;
  size_t size = 0;
  bool larger = false;  // than the room
  bool lost = false;    // more descriptors came than are here
  std::vector<Fd> descriptors;

  std::span<const std::byte> bytes() const { return std::span(room).first(size); }
};

class Client final : public Connection {
 public:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}

  void reply(const protocol::Reply& reply) override;
  void hand_over(const protocol::Reply& reply, int socket) override;
  void document(const std::string& text) override;
  void event(const protocol::Event& event) override;
  bool open() const override;

  int fd() const { return socket_.get(); }

  // It did not read what it was sent: nothing more is to be done for it.
  bool cut_off() const { return state_ == State::CutOff; }

  // The next packet. Errors: EAGAIN, none is there; ENOTCONN, no more will come.
  Result<Packet> receive();

  // The peer reads what it was sent, then the end. What it has sent stays in the queue; it cannot
  // add to it.
  void hang_up();

  // From now on whoever answers answers nobody.
  Fd take_socket() { return std::move(socket_); }

 private:
  enum class State {
    Open,
    Gone,    // its requests may still be in the queue; nobody reads the answers
    CutOff,  // by us
  };

  void send(std::span<const std::byte> message, int descriptor = -1);
  void cut_off_now();
  bool leaves_documents_unread() const;
  short poll_now(short events) const;

  Fd socket_;
  State state_ = State::Open;
  bool streams_ = false;
};

}  // namespace subset::control
