// SPDX-License-Identifier: MIT
#include "ctl/output.h"

#include <unistd.h>

#include <algorithm>
#include <climits>

namespace subset::ctl {

void LinePrefixer::feed(std::string_view bytes, std::string& out) {
  while (!bytes.empty()) {
    size_t end = bytes.substr(0, kMaxLine - line_.size()).find('\n');
    bool whole = end != std::string_view::npos;
    size_t taken = whole ? end : std::min(kMaxLine - line_.size(), bytes.size());
    line_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken + (whole ? 1 : 0));
    // The end of a line that was cut just here is no line of its own.
    if (whole && line_.empty() && !cut_) out.append(prefix_).append("\n");
    if (whole || line_.size() == kMaxLine) flush(out);
    if (whole) cut_ = false;
  }
}

void LinePrefixer::flush(std::string& out) {
  if (line_.empty()) return;
  out.append(prefix_).append(line_).append("\n");
  line_.clear();
  cut_ = true;
}

void Sink::write_some() {
  if (queue_.empty()) return;
  // O_NONBLOCK would change the terminal for everybody who shares it. A pipe that polls as writable
  // takes PIPE_BUF bytes without blocking.
  ssize_t done = write(fd_, queue_.data(), std::min<size_t>(queue_.size(), PIPE_BUF));
  if (done >= 0) {
    queue_.erase(0, static_cast<size_t>(done));
  } else if (errno != EINTR && errno != EAGAIN) {
    queue_.clear();  // nobody reads any more (EPIPE): the servers go on
  }
}

}  // namespace subset::ctl
