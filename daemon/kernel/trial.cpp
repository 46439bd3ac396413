// SPDX-License-Identifier: MIT
#include "daemon/kernel/trial.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "daemon/kernel/pins.h"
#include "daemon/kernel/steering.h"
#include "daemon/kernel/watch.h"

namespace subset::kernel {
namespace {

constexpr char kBpffs[] = "/sys/fs/bpf";

// Ctrl-C in between would leave the pins there.
class SignalsWait {
 public:
  SignalsWait() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsWait() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;

 private:
  sigset_t before_{};
};

// A directory of pins that goes with this object.
class PinsForNow {
 public:
  explicit PinsForNow(std::string dir) : dir_(std::move(dir)) {}
  ~PinsForNow() {
    for (const std::string& each : Pins::names(dir_)) (void)Pins::remove_dir(dir_ + "/" + each);
    (void)Pins::remove_dir(dir_);
  }
  PinsForNow(const PinsForNow&) = delete;
  PinsForNow& operator=(const PinsForNow&) = delete;

  Result<Pins> open() const { return Pins::open(dir_); }

 private:
  std::string dir_;
};

constexpr uint32_t kSlots = 8;
constexpr uint32_t kOutgrown = 100;  // more than a small group's maps hold

Shape small_shape(Mode mode, Protocol protocol) {
  constexpr uint32_t kBuckets = 64;
  Shape shape{.mode = mode, .protocol = protocol, .row_capacity = kBuckets, .slots = kSlots};
  if (mode != Mode::Cpu) return shape;
  shape.domain_of_cpu = {0, 1};
  shape.domains = 2;
  return shape;
}

// As it is when a group is made, and, which is more for the verifier, when that has outgrown its
// maps.
Result<void> try_steering(const Pins& pins, const Watch& watch, Shape shape) {
  auto steering = Steering::create(pins, watch, 1, shape);
  if (!steering) return tl::make_unexpected(steering.error());
  shape.slots = kOutgrown;
  if (auto grown = (*steering)->publish(shape, Table{}); !grown) return grown;
  return (*steering)->unpin();
}

}  // namespace

Result<void> try_programs() {
  struct statfs fs {};
  if (statfs(kBpffs, &fs) != 0) return fail_errno(std::string("look at ") + kBpffs);
  if (fs.f_type != BPF_FS_MAGIC)
    return fail(ENODEV, std::string("not tried: no bpf file system at ") + kBpffs);
  const SignalsWait wait;
  const PinsForNow place(std::string(kBpffs) + "/subset-check-" + std::to_string(getpid()));
  auto pins = place.open();
  if (!pins) return tl::make_unexpected(pins.error());
  auto watch = Watch::open(*pins);
  if (!watch) return tl::make_unexpected(watch.error());
  for (Protocol protocol : {Protocol::Udp, Protocol::Tcp}) {
    for (Mode mode : {Mode::Hash, Mode::Source, Mode::Random, Mode::Cpu, Mode::Least}) {
      if (mode == Mode::Least && protocol == Protocol::Udp) continue;
      if (auto tried = try_steering(*pins, **watch, small_shape(mode, protocol)); !tried)
        return tried;
    }
  }
  return {};
}

}  // namespace subset::kernel
