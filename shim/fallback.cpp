// SPDX-License-Identifier: MIT
#include "shim/fallback.h"

#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>

#include <atomic>

#include "shim/log.h"
#include "shim/process.h"
#include "shim/real.h"

namespace subset::shim {
namespace {

// Begins each classic program of ours, to no effect: the daemon replaces those, and leaves what a
// server attached alone. SUBSET_SIGNATURE in bpf/layout.h.
constexpr uint32_t kSignature = 0x53425553;

Line& operator<<(Line& line, const NoDaemon& why) {
  return line << "no daemon at " << process.settings.socket_path << " ("
              << (why.text[0] ? why.text : describe_error(why.error)) << "): ";
}

bool attach(int fd, const sock_fprog& program) {
  return real::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
}

// cpu mode without the daemon: a classic BPF program, which needs no privilege, gives the index
// "this CPU modulo total". The index is the order of the binds, not the instance: start the
// instances in their order, and restart them all when one goes, since the last socket takes the
// place of one that closes. Without a total (SUBSET=auto) the CPU's number is the index itself, and
// the kernel hashes where that is too large.
bool select_by_cpu(int fd, uint32_t total) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_IMM, kSignature),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_CPU)),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, total != 0 ? total : UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
  return attach(fd, {.len = sizeof program / sizeof *program, .filter = program});
}

// Attaching replaces the program of the whole group. Where a daemon has been, that is the daemon's,
// which goes on steering without it; only a socket path that nobody has ever bound says that there
// is none. A daemon that starts later replaces ours.
bool may_attach(const NoDaemon& why) {
  return process.settings.mode == Mode::Cpu && why.error == ENOENT;
}

void warn_once(const NoDaemon& why, const char* consequence) {
  static constinit std::atomic<bool> warned{false};
  if (warned.exchange(true, std::memory_order_relaxed)) return;
  Line line(LogLevel::Warn);
  line << why << consequence;
}

}  // namespace

void select_first(int fd) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_IMM, kSignature),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  attach(fd, {.len = sizeof program / sizeof *program, .filter = program});
}

int fall_back(int fd, uint32_t total, const NoDaemon& why) {
  if (process.settings.fallback == Fallback::Fail) {
    Line line(LogLevel::Error);
    line << why << "refused, as SUBSET_FALLBACK=fail asks";
    errno = why.error == ETIMEDOUT ? ETIMEDOUT : ECONNREFUSED;
    return -1;
  }
  const bool by_cpu = may_attach(why) && select_by_cpu(fd, total);
  warn_once(why, by_cpu ? "plain SO_REUSEPORT, the CPU decides, sockets in the order of their bind"
                        : "plain SO_REUSEPORT, the kernel's hash decides");
  return 0;
}

}  // namespace subset::shim
