// SPDX-License-Identifier: MIT
// The command's end of the control socket: one request, one answer, never a wait without bound.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "protocol/message.h"

namespace subset::ctl {

class Client {
 public:
  // Each wait, for a place in the daemon's queue and for its answer, is at most `patience`.
  static Result<Client> connect(const std::string& path,
                                std::chrono::milliseconds patience = std::chrono::seconds(5));

  // The JSON document of all groups.
  Result<std::string> status();
  // What the daemon says beside success, often nothing; its refusal is an error.
  Result<std::string> change(const protocol::Change& change);

  // From now on the daemon sends what happens, and nothing else may be asked here.
  Result<void> follow();
  // One JSON object, waited for without bound: poll fd() first. Empty: the daemon has gone, or has
  // cut off who does not read.
  Result<std::optional<std::string>> next_event();
  int fd() const { return socket_.get(); }

 private:
  Client(Fd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}

  struct Answer;
  Result<void> send_request(const void* request, size_t size);
  Result<Answer> hear();
  Result<Answer> ask(const void* request, size_t size);

  Fd socket_;
  std::string path_;
};

// Does somebody listen there? An error: that could not be found out.
Result<bool> daemon_listens(const std::string& path);

}  // namespace subset::ctl
