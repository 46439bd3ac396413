// SPDX-License-Identifier: MIT
// What a selection costs: nanoseconds a run of the program by the kernel's own count, beside an
// empty program, and nanoseconds a datagram end to end, beside the kernel's own hash. All groups
// are in this process and take turns of 64 datagrams, so that noise of the machine hits them alike.
//
// Run with libsubset.so preloaded, SUBSET_SOCKET and SUBSET_MODE set. Prints one line of JSON.
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include <CLI/CLI.hpp>
#include <bpf/bpf.h>
#include <nlohmann/json.hpp>

#include "bench/load/address.h"
#include "bench/load/ring.h"
#include "bench/load/thread.h"
#include "bench/probe/group.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  uint32_t slots = 2;
  bool tcp = false;
  bool one_by_one = false;
  unsigned flows = 64;
  unsigned turns = 2000;
  uint16_t port = 21000;
};

// Datagrams, or connections, of a turn.
constexpr unsigned kBatch = 64;

// --- programs -----------------------------------------------------------------------------------

// SK_PASS, and nothing else: what any program costs.
Result<Fd> load_empty_program() {
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
      {.code = BPF_JMP | BPF_EXIT},
  };
  Fd program(
      bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "empty", "GPL", code, std::size(code), nullptr));
  if (!program) return fail_errno("load an empty program");
  return program;
}

struct Runs {
  uint64_t count = 0;
  uint64_t nanoseconds = 0;
};

Result<Runs> runs_of(int program) {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) return fail_errno("look at a program");
  return Runs{info.run_cnt, info.run_time_ns};
}

// Programs of the name `enter`: of every daemon of the machine. Ours is the one that ran as often
// as we sent.
struct Enter {
  uint32_t id = 0;
  Fd fd;
  Runs before;
};

std::vector<Enter> enter_programs() {
  std::vector<Enter> found;
  for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
    Fd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) continue;
    if (info.type != BPF_PROG_TYPE_SK_REUSEPORT || std::strcmp(info.name, "enter") != 0) continue;
    found.push_back({id, std::move(program), {info.run_cnt, info.run_time_ns}});
  }
  return found;
}

Result<Runs> runs_of_ours(const std::vector<Enter>& programs, uint64_t sent) {
  Runs best;
  const auto distance = [&](uint64_t count) { return count > sent ? count - sent : sent - count; };
  for (const Enter& program : programs) {
    auto now = runs_of(program.fd.get());
    if (!now) return now;
    const Runs since{now->count - program.before.count,
                     now->nanoseconds - program.before.nanoseconds};
    if (distance(since.count) < distance(best.count)) best = since;
  }
  if (best.count < sent / 2) return fail(ENOENT, "no program ran for what was sent");
  return best;
}

// --- traffic ------------------------------------------------------------------------------------

// A group with an epoll set over its sockets.
struct Target {
  PortGroup group;
  Fd epoll;

  static Result<Target> create(PortGroup group) {
    Target target{std::move(group), Fd(epoll_create1(EPOLL_CLOEXEC))};
    if (!target.epoll) return fail_errno("make an epoll set");
    for (const Fd& socket : target.group.sockets) {
      epoll_event event{.events = EPOLLIN, .data = {.fd = socket.get()}};
      if (epoll_ctl(target.epoll.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0)
        return fail_errno("watch a socket");
    }
    return target;
  }

  // Takes everything that has come, `wanted` in all; gives up after a while.
  unsigned drain(unsigned wanted) {
    std::array<epoll_event, kBatch> events{};
    unsigned got = 0;
    while (got < wanted) {
      const int ready = epoll_wait(epoll.get(), events.data(), kBatch, 50);
      if (ready <= 0) break;
      for (int i = 0; i < ready; i++) got += take_all(events[static_cast<size_t>(i)].data.fd);
    }
    return got;
  }

  unsigned take_all(int socket) const {
    char text[64];
    unsigned got = 0;
    if (group.type == SOCK_DGRAM) {
      while (recv(socket, text, sizeof text, 0) >= 0) got++;
      return got;
    }
    for (int accepted = 0; (accepted = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC)) >= 0; got++)
      close(accepted);
    return got;
  }
};

// Sends from some addresses, by default all in one system call: so the kernel handles one after
// the other, as it does what a network card brings. A call for each adds what a call does to the
// CPU's caches, where pages are isolated without PCID its whole TLB.
class Sender {
 public:
  static Result<Sender> create(const Options& options) {
    Sender sender;
    sender.one_by_one_ = options.one_by_one;
    sender.flows_ = std::max(1u, options.flows);
    sender.socket_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!sender.socket_) return fail_errno("make a client");
    return sender;
  }

  void send(sockaddr_in to) {
    std::array<mmsghdr, kBatch> messages{};
    std::array<Source, kBatch> sources{};
    iovec text{.iov_base = const_cast<char*>("hello"), .iov_len = 5};
    for (unsigned i = 0; i < kBatch; i++) {
      fill(sources[i], client_address(i % flows_));
      msghdr& header = messages[i].msg_hdr;
      header.msg_name = &to;
      header.msg_namelen = sizeof to;
      header.msg_iov = &text;
      header.msg_iovlen = 1;
      header.msg_control = sources[i].bytes;
      header.msg_controllen = sizeof sources[i].bytes;
    }
    if (!one_by_one_) {
      sendmmsg(socket_.get(), messages.data(), kBatch, 0);
      return;
    }
    for (mmsghdr& message : messages) sendmsg(socket_.get(), &message.msg_hdr, 0);
  }

 private:
  struct Source {
    alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(in_pktinfo))];
  };

  static void fill(Source& source, in_addr from) {
    auto* header = reinterpret_cast<cmsghdr*>(source.bytes);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    const in_pktinfo where{.ipi_ifindex = 0, .ipi_spec_dst = from, .ipi_addr = {}};
    std::memcpy(CMSG_DATA(header), &where, sizeof where);
  }

  Fd socket_;
  bool one_by_one_ = false;
  unsigned flows_ = 1;
};

// Connects, likewise. Each connection is ended by a reset, so that nothing waits out a TIME_WAIT.
class Connector {
 public:
  static Result<Connector> create(const Options& options) {
    Connector connector;
    connector.one_by_one_ = options.one_by_one;
    auto ring = Ring::create(2 * kBatch, 0, 0);
    if (!ring) return tl::unexpected(ring.error());
    connector.ring_ = std::move(*ring);
    return connector;
  }

  std::vector<Fd> open(const sockaddr_in& to) {
    std::vector<Fd> clients;
    const linger reset{.l_onoff = 1, .l_linger = 0};
    for (unsigned i = 0; i < kBatch; i++) {
      clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      setsockopt(clients[i].get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    if (one_by_one_) {
      for (const Fd& client : clients) connect(client.get(), generic(to), sizeof to);
    } else {
      connect_all(to, clients);
    }
    return clients;
  }

 private:
  void connect_all(const sockaddr_in& to, const std::vector<Fd>& clients) {
    for (const Fd& client : clients)
      io_uring_prep_connect(ring_->entry(), client.get(), generic(to), sizeof to);
    unsigned done = 0;
    for (unsigned tries = 0; done < kBatch && tries < kBatch; tries++) {
      ring_->wait(100'000'000);
      ring_->complete([&](const io_uring_cqe&) { done++; });
    }
  }

  std::unique_ptr<Ring> ring_;
  bool one_by_one_ = false;
};

class Probe {
 public:
  static Result<Probe> create(const Options& options) {
    Probe probe;
    auto sender = Sender::create(options);
    if (!sender) return tl::unexpected(sender.error());
    probe.sender_ = std::move(*sender);
    auto connector = Connector::create(options);
    if (!connector) return tl::unexpected(connector.error());
    probe.connector_ = std::move(*connector);
    const int type = options.tcp ? SOCK_STREAM : SOCK_DGRAM;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct {
      Sharing sharing;
      uint32_t sockets;
    } wanted[] = {{Sharing::Kernel, options.slots},  // as many: each socket is memory to touch
                  {Sharing::Kernel, options.slots},
                  {Sharing::Subset, options.slots}};
    for (size_t i = 0; i < std::size(wanted); i++) {
      address.sin_port = htons(static_cast<uint16_t>(options.port + i));
      auto group = PortGroup::open(address, type, wanted[i].sharing, wanted[i].sockets);
      if (!group)
        return fail(group.error(), "open " + std::to_string(wanted[i].sockets) + " sockets");
      auto target = Target::create(std::move(*group));
      if (!target) return tl::unexpected(target.error());
      probe.targets_.push_back(std::move(*target));
    }
    auto empty = load_empty_program();
    if (!empty) return tl::unexpected(empty.error());
    probe.empty_program_ = std::move(*empty);
    const int program = probe.empty_program_.get();
    if (setsockopt(probe.targets_[kEmpty].group.sockets[0].get(), SOL_SOCKET,
                   SO_ATTACH_REUSEPORT_EBPF, &program, sizeof program) != 0)
      return fail_errno("attach an empty program");
    return probe;
  }

  Result<nlohmann::json> run(const Options& options) {
    for (unsigned i = 0; i < 50; i++) turn();  // not counted
    nlohmann::json out;
    if (!options.tcp) out = end_to_end(options.turns);
    auto counted = program_runs(options.turns);
    if (!counted) return counted;
    out.update(*counted);
    return out;
  }

 private:
  enum { kPlain, kEmpty, kOurs, kTargets };

  // Nanoseconds for each datagram or connection, of each target.
  std::array<double, kTargets> turn() {
    std::array<double, kTargets> cost{};
    for (unsigned i = 0; i < kTargets; i++) {
      const unsigned which = (i + turns_) % kTargets;
      Target& target = targets_[which];
      std::vector<Fd> open;
      const uint64_t before = now_ns();
      if (target.group.type == SOCK_DGRAM) {
        sender_.send(target.group.address);
        missing_ += kBatch - target.drain(kBatch);
      } else {
        open = connector_.open(target.group.address);
        missing_ += kBatch - target.drain(kBatch);
      }
      cost[which] = static_cast<double>(now_ns() - before) / kBatch;
    }
    turns_++;
    return cost;
  }

  static double median(std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  nlohmann::json end_to_end(unsigned turns) {
    std::vector<double> plain, empty_over, ours_over;
    for (unsigned i = 0; i < turns; i++) {
      const auto cost = turn();
      plain.push_back(cost[kPlain]);
      empty_over.push_back(cost[kEmpty] - cost[kPlain]);
      ours_over.push_back(cost[kOurs] - cost[kPlain]);
    }
    return {{"plain_ns", median(plain)},
            {"empty_over_plain_ns", median(empty_over)},
            {"ours_over_plain_ns", median(ours_over)}};
  }

  Result<nlohmann::json> program_runs(unsigned turns) {
    const Fd counting(bpf_enable_stats(BPF_STATS_RUN_TIME));  // as long as it is open
    if (!counting) return fail_errno("count runs of programs");
    const auto programs = enter_programs();
    auto empty_before = runs_of(empty_program_.get());
    if (!empty_before) return tl::unexpected(empty_before.error());
    for (unsigned i = 0; i < turns; i++) turn();
    auto empty = runs_of(empty_program_.get());
    if (!empty) return tl::unexpected(empty.error());
    auto ours = runs_of_ours(programs, uint64_t{turns} * kBatch);
    if (!ours) return tl::unexpected(ours.error());
    const double empty_ns =
        static_cast<double>(empty->nanoseconds - empty_before->nanoseconds) /
        static_cast<double>(std::max<uint64_t>(1, empty->count - empty_before->count));
    const double ours_ns =
        static_cast<double>(ours->nanoseconds) / static_cast<double>(ours->count);
    return nlohmann::json{{"empty_run_ns", empty_ns},
                          {"ours_run_ns", ours_ns},
                          {"over_empty_ns", ours_ns - empty_ns},
                          {"runs", ours->count},
                          {"missing", missing_}};
  }

  Sender sender_;
  Connector connector_;
  std::vector<Target> targets_;
  Fd empty_program_;
  unsigned turns_ = 0;
  uint64_t missing_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Measures what a selection costs and prints it as JSON", "select_cost"};
  app.add_option("--slots", options.slots, "sockets of our group")->capture_default_str();
  app.add_flag("--tcp", options.tcp, "connections instead of datagrams; no end-to-end figure");
  app.add_flag("--one-by-one", options.one_by_one, "a system call for each");
  app.add_option("--flows", options.flows, "addresses that datagrams come from, up to 64")
      ->capture_default_str();
  app.add_option("--turns", options.turns, "of 64 for each group")->capture_default_str();
  app.add_option("--port", options.port, "the first of three")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  allow_descriptors();
  auto probe = Probe::create(options);
  auto out = probe ? probe->run(options) : tl::unexpected(probe.error());
  if (!out) {
    std::fprintf(stderr, "select_cost: %s\n", out.error().message().c_str());
    return 1;
  }
  std::puts(out->dump().c_str());
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "select_cost: %s\n", error.what());
  return 1;
}
