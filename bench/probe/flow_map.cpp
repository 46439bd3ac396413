// SPDX-License-Identifier: MIT
// Where flows go: sends one datagram of each of many flows to a group of sockets, notes which
// socket got it, then lets a member leave and come back and looks which flows moved. On the real
// kernel.
//
// A flow that moves without need: it was at another member than the one that left, or it went to
// another one than the one that came back.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <numeric>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/address.h"
#include "bench/load/thread.h"
#include "bench/probe/group.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  uint32_t slots = 8;
  uint32_t flows = 10000;
  bool subset = false;
  uint32_t salt = 0;  // other flows each time
  uint16_t port = 22000;
};

constexpr uint32_t kNowhere = UINT32_MAX;
constexpr uint32_t kAtOnce = 64;  // of what is on its way: no queue overflows

using Placement = std::vector<uint32_t>;  // by flow: the instance that got it

class Flows {
 public:
  static Result<Flows> create(const Options& options) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(options.port);
    auto group = PortGroup::open(address, SOCK_DGRAM,
                                 options.subset ? Sharing::Subset : Sharing::Kernel, options.slots);
    if (!group) return tl::unexpected(group.error());
    Flows flows(options, std::move(*group));
    if (!flows.epoll_) return fail_errno("make an epoll set");
    for (uint32_t instance = 0; instance < options.slots; instance++) flows.watch(instance);
    return flows;
  }

  Result<Placement> place() {
    Placement placement(options_.flows, kNowhere);
    for (uint32_t flow = 0; flow < options_.flows; flow += kAtOnce) {
      const uint32_t last = std::min(flow + kAtOnce, options_.flows);
      for (uint32_t i = flow; i < last; i++) {
        if (auto sent = send(i); !sent) return tl::unexpected(sent.error());
      }
      collect(placement, last - flow);
    }
    return placement;
  }

  void leave(uint32_t instance) { group_.sockets[instance].reset(); }

  Result<void> come_back(uint32_t instance) {
    if (auto opened = group_.open_instance(instance); !opened) return opened;
    watch(instance);
    return {};
  }

 private:
  Flows(const Options& options, PortGroup group)
      : options_(options), group_(std::move(group)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  void watch(uint32_t instance) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = instance}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, group_.sockets[instance].get(), &event);
  }

  // The same flow has the same address and port each time.
  Result<void> send(uint32_t flow) {
    constexpr uint32_t kPorts = 20000;
    const uint32_t which = flow + options_.salt * options_.flows;
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr = client_address(which / kPorts);
    from.sin_port = htons(static_cast<uint16_t>(40000 + which % kPorts));
    const Fd client(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!client || bind(client.get(), generic(from), sizeof from) != 0)
      return fail_errno("bind a flow");
    if (sendto(client.get(), &flow, sizeof flow, 0, generic(group_.address),
               sizeof group_.address) < 0)
      return fail_errno("send");
    return {};
  }

  void collect(Placement& placement, uint32_t wanted) {
    std::array<epoll_event, kAtOnce> events{};
    while (wanted > 0) {
      const int ready = epoll_wait(epoll_.get(), events.data(), kAtOnce, 200);
      if (ready <= 0) return;  // lost: stays nowhere
      for (int i = 0; i < ready; i++) {
        const uint32_t instance = events[static_cast<size_t>(i)].data.u32;
        for (uint32_t flow = 0; recv(group_.sockets[instance].get(), &flow, sizeof flow, 0) > 0;) {
          placement[flow] = instance;
          wanted -= wanted > 0 ? 1 : 0;
        }
      }
    }
  }

  Options options_;
  PortGroup group_;
  Fd epoll_;
};

double max_over_mean(const Placement& placement, uint32_t slots) {
  std::vector<uint32_t> counts(slots);
  for (const uint32_t instance : placement)
    if (instance != kNowhere) counts[instance]++;
  const double mean = static_cast<double>(placement.size()) / slots;
  return *std::max_element(counts.begin(), counts.end()) / mean;
}

struct Moves {
  uint64_t needed = 0;
  uint64_t needless = 0;
};

// `changed`: the instance that left or came back.
Moves moves(const Placement& before, const Placement& after, uint32_t changed) {
  Moves moves;
  for (size_t flow = 0; flow < before.size(); flow++) {
    if (before[flow] == after[flow]) continue;
    (before[flow] == changed || after[flow] == changed ? moves.needed : moves.needless)++;
  }
  return moves;
}

uint64_t lost(const Placement& placement) {
  return static_cast<uint64_t>(std::count(placement.begin(), placement.end(), kNowhere));
}

Result<nlohmann::json> run(const Options& options) {
  auto flows = Flows::create(options);
  if (!flows) return tl::unexpected(flows.error());
  auto start = flows->place();
  if (!start) return tl::unexpected(start.error());
  const uint32_t victim = options.slots / 2;
  flows->leave(victim);
  auto without = flows->place();
  if (!without) return tl::unexpected(without.error());
  if (auto back = flows->come_back(victim); !back) return tl::unexpected(back.error());
  auto again = flows->place();
  if (!again) return tl::unexpected(again.error());
  const Moves leaving = moves(*start, *without, victim);
  const Moves coming = moves(*without, *again, victim);
  const double all = options.flows;
  return nlohmann::json{
      {"max_over_mean", max_over_mean(*start, options.slots)},
      {"leave_needed", static_cast<double>(leaving.needed) / all},
      {"leave_needless", static_cast<double>(leaving.needless) / all},
      {"return_needed", static_cast<double>(coming.needed) / all},
      {"return_needless", static_cast<double>(coming.needless) / all},
      {"not_as_before", static_cast<double>(moves(*start, *again, kNowhere).needless) / all},
      {"lost", lost(*start) + lost(*without) + lost(*again)}};
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Shows where flows go and which move, as JSON", "flow_map"};
  app.add_option("--slots", options.slots, "sockets of the group")->capture_default_str();
  app.add_option("--flows", options.flows, "clients")->capture_default_str();
  app.add_flag("--subset", options.subset, "by SO_SUBSET instead of SO_REUSEPORT");
  app.add_option("--salt", options.salt, "other clients for each number")->capture_default_str();
  app.add_option("--port", options.port, "of the group")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  allow_descriptors();
  auto out = run(options);
  if (!out) {
    std::fprintf(stderr, "flow_map: %s\n", out.error().message().c_str());
    return 1;
  }
  std::puts(out->dump().c_str());
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "flow_map: %s\n", error.what());
  return 1;
}
