// SPDX-License-Identifier: MIT
// A daemon for the shim to meet: honest or lying, quick or hanging.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "protocol/message.h"

namespace subset::test {

// One request, as it came.
struct Seen {
  protocol::Header header;
  protocol::Register registration;  // where it is one
  uint32_t flags = 0;               // of a Leave
  uint64_t cookie = 0;              // of the socket that came with it; 0: none came
  bool listening = false;
  size_t size = 0;
};

class FakeDaemon {
 public:
  // What to do with a connection after its request was read. It is closed afterwards.
  using Answer = std::function<void(int connection, const Seen& seen)>;

  explicit FakeDaemon(Answer answer);
  ~FakeDaemon();
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  const std::string& path() const { return path_; }
  std::vector<Seen> seen() const;

 private:
  void serve();
  void handle(int connection);

  Answer answer_;
  std::string path_;
  int listener_ = -1;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
  std::thread thread_;
};

// Answers.
void grant(int connection, const Seen& seen);                   // what was asked for
FakeDaemon::Answer refuse(int error, const std::string& text);  // with that errno
FakeDaemon::Answer assign(uint32_t instance, const std::string& text = "");
FakeDaemon::Answer send_bytes(const void* data, size_t size);

}  // namespace subset::test
