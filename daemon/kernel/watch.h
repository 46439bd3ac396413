// SPDX-License-Identifier: MIT
// What watches the machine: tags of steered sockets, counters of open connections, notices. Made
// once, pinned, and taken over by the next daemon with all that was counted.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bpf/layout.h"
#include "daemon/base/result.h"
#include "daemon/kernel/pins.h"

struct watch_bpf;
struct ring_buffer;
struct bpf_link;

namespace subset::kernel {

class Watch {
 public:
  // Errors: what the kernel's verifier or CO-RE refuses, with libbpf's text in the log.
  static Result<std::unique_ptr<Watch>> open(const Pins& pins);
  ~Watch();

  // Pins again what somebody has removed; how much that was.
  Result<size_t> keep_pins(const Pins& pins) const;

  // Maps that each group's program shares.
  int notices_fd() const;
  int open_connections_fd() const;
  int migrated_connections_fd() const;

  // Tags a member socket; `counter` 0 for a socket whose connections are not counted.
  Result<void> tag(int socket, const subset_tag& tag);
  Result<void> untag(int socket);

  // What the kernel has made of one socket of this process, tagged or not, and how many keep it
  // open: about 2 µs.
  Result<subset_look> look_at(int socket) const;

  // All tagged sockets of the machine, in all network namespaces, each once. About 1 µs a socket;
  // where the kernel refuses to iterate over tags, 1 µs a descriptor of the whole machine, and a
  // socket that is nobody's descriptor (on its way in a message) is not seen.
  Result<std::vector<subset_sample>> sample() const;

  // Ports that find_on_managed_ports() looks for.
  Result<void> manage(const subset_managed& port);
  void unmanage(const subset_managed& port);

  // Every descriptor on the machine that is a socket on a managed port: members and strangers, one
  // record a process. About 1 µs a descriptor of the whole machine.
  Result<std::vector<subset_found>> find_on_managed_ports() const;

  // A counter of open connections that nobody uses and that is 0; ENOSPC.
  Result<uint32_t> take_counter(const std::vector<bool>& in_use);
  uint64_t open_connections(uint32_t counter) const;

  // The ring buffer of notices: poll its fd, then drain.
  int notice_poll_fd() const;
  void drain_notices(const std::function<void(const subset_notice&)>& each);

 private:
  Watch() = default;
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace subset::kernel
