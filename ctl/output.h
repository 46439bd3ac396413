// SPDX-License-Identifier: MIT
// The output of many instances on one terminal: whole lines, each with its instance in front.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace subset::ctl {

// Pure: bytes in, prefixed lines out.
class LinePrefixer {
 public:
  explicit LinePrefixer(std::string prefix) : prefix_(std::move(prefix)) {}

  // Appends the complete lines to `out` and keeps the rest; a line without an end is cut at
  // kMaxLine, so that what is kept is bounded.
  void feed(std::string_view bytes, std::string& out);
  // The rest as a line of its own: somebody waits to read it.
  void flush(std::string& out);
  bool pending() const { return !line_.empty(); }

  static constexpr size_t kMaxLine = 16384;

 private:
  std::string prefix_;
  std::string line_;
  bool cut_ = false;  // what was printed last is the beginning of the line that goes on
};

// One of our own descriptors, written to without ever blocking: who pauses the terminal must still
// be able to stop the servers.
class Sink {
 public:
  explicit Sink(int fd) : fd_(fd) {}

  std::string& queue() { return queue_; }
  bool empty() const { return queue_.empty(); }
  // Then no more is read from the instances, who wait as in any pipeline.
  bool full() const { return queue_.size() > kLimit; }
  int fd() const { return fd_; }
  // Once poll said that there is room.
  void write_some();

 private:
  static constexpr size_t kLimit = 1u << 18;
  int fd_;
  std::string queue_;
};

}  // namespace subset::ctl
