// SPDX-License-Identifier: MIT
// What joining costs: sockets that declare SO_SUBSET and bind, timed one by one, by one or by many
// processes at once. Run with libsubset.so preloaded and SUBSET_SOCKET set; with --plain, by
// SO_REUSEPORT, for comparison. Prints one line of JSON; with --hold, then keeps the sockets until
// SIGTERM.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <random>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/latencies.h"
#include "bench/load/thread.h"
#include "bench/probe/group.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  uint32_t groups = 1;
  uint32_t members = 1;  // of each group
  uint32_t clients = 1;  // processes; each has its own groups
  double rate = 0;       // joins a second of all clients; 0: one after the other
  uint16_t port = 23000;
  bool plain = false;
  bool hold = false;
};

uint64_t joins_per_client(const Options& options) {
  return uint64_t{options.groups} * options.members;
}

sockaddr_in address_of(const Options& options, uint32_t client, uint32_t group) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(options.port + client * options.groups + group));
  return address;
}

// Pauses between joins: random ones, so that clients do not march in step.
class Pace {
 public:
  Pace(const Options& options, uint32_t client)
      : mean_s_(options.rate > 0 ? options.clients / options.rate : 0), random_(client) {}

  void pause() {
    if (mean_s_ == 0) return;
    const double seconds = std::exponential_distribution<>(1 / mean_s_)(random_);
    usleep(static_cast<useconds_t>(seconds * 1e6));
  }

 private:
  double mean_s_;
  std::minstd_rand random_;
};

constexpr uint32_t kFailed = UINT32_MAX;

// The time that each join took, into `spent`, in nanoseconds.
Result<void> join_all(const Options& options, uint32_t client, std::vector<PortGroup>& groups,
                      uint32_t* spent) {
  Pace pace(options, client);
  for (uint32_t i = 0; i < options.groups; i++) {
    PortGroup& group = groups.emplace_back();
    group.address = address_of(options, client, i);
    group.sharing = options.plain ? Sharing::Kernel : Sharing::Subset;
    group.total = options.members;
    group.sockets.resize(options.members);
    for (uint32_t member = 0; member < options.members; member++) {
      pace.pause();
      const uint64_t before = now_ns();
      auto opened = group.open_instance(member);
      // The daemon did not answer within a second: as bad as it gets, and counted.
      if (!opened && opened.error().code != ETIMEDOUT) return opened;
      *spent++ = opened ? static_cast<uint32_t>(now_ns() - before) : kFailed;
    }
  }
  return {};
}

int run_client(const Options& options, uint32_t client, uint32_t* spent, int ready, int go) {
  std::vector<PortGroup> groups;
  char token = 'r';
  (void)!write(ready, &token, 1);
  (void)!read(go, &token, 1);  // its end: all start at once
  auto joined = join_all(options, client, groups, spent);
  token = joined ? 'd' : 'f';
  if (!joined) std::fprintf(stderr, "join_cost: %s\n", joined.error().message().c_str());
  (void)!write(ready, &token, 1);
  if (options.hold) pause();
  return joined ? 0 : 1;
}

struct Pipe {
  Fd read_end, write_end;
  static Pipe open() {
    int ends[2] = {-1, -1};
    (void)!pipe(ends);
    return {Fd(ends[0]), Fd(ends[1])};
  }
};

bool all_say(int pipe, uint32_t clients, char wanted) {
  for (uint32_t i = 0; i < clients; i++) {
    char token = 0;
    if (read(pipe, &token, 1) != 1 || token != wanted) return false;
  }
  return true;
}

nlohmann::json summary(const uint32_t* spent, uint64_t joins, uint64_t wall_ns) {
  Latencies latencies;
  uint64_t failed = 0;
  for (uint64_t i = 0; i < joins; i++) {
    if (spent[i] == kFailed)
      failed++;
    else
      latencies.add(spent[i]);
  }
  nlohmann::json out = latencies.summary();
  out["failed"] = failed;
  out["joins"] = joins;
  out["seconds"] = static_cast<double>(wall_ns) / 1e9;
  out["joins_per_second"] = static_cast<double>(joins) * 1e9 / static_cast<double>(wall_ns);
  return out;
}

int run(const Options& options) {
  const uint64_t joins = joins_per_client(options) * options.clients;
  void* memory = mmap(nullptr, joins * sizeof(uint32_t), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("join_cost: memory"), 1;
  auto* spent = static_cast<uint32_t*>(memory);
  Pipe ready = Pipe::open();
  Pipe go = Pipe::open();
  std::vector<pid_t> clients;
  for (uint32_t client = 0; client < options.clients; client++) {
    const pid_t pid = fork();
    if (pid == 0) {
      go.write_end.reset();
      _exit(run_client(options, client, spent + client * joins_per_client(options),
                       ready.write_end.get(), go.read_end.get()));
    }
    clients.push_back(pid);
  }
  ready.write_end.reset();
  bool fine = all_say(ready.read_end.get(), options.clients, 'r');
  const uint64_t before = now_ns();
  go.write_end.reset();
  fine = fine && all_say(ready.read_end.get(), options.clients, 'd');
  const uint64_t wall = now_ns() - before;
  if (fine) std::puts(summary(spent, joins, wall).dump().c_str());
  std::fflush(stdout);
  if (fine && options.hold) pause();
  for (const pid_t client : clients) {
    kill(client, SIGKILL);
    waitpid(client, nullptr, 0);
  }
  return fine ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Times sockets that join groups and prints it as JSON", "join_cost"};
  app.add_option("--groups", options.groups, "of each client")->capture_default_str();
  app.add_option("--members", options.members, "of each group")->capture_default_str();
  app.add_option("--clients", options.clients, "processes at once")->capture_default_str();
  app.add_option("--rate", options.rate, "joins a second in all; 0: as fast as they are answered")
      ->capture_default_str();
  app.add_option("--port", options.port, "the first")->capture_default_str();
  app.add_flag("--plain", options.plain, "SO_REUSEPORT alone");
  app.add_flag("--hold", options.hold, "keep the sockets until SIGTERM");
  CLI11_PARSE(app, argc, argv);
  allow_descriptors();
  std::signal(SIGTERM, [](int) {});  // ends pause()
  return run(options);
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "join_cost: %s\n", error.what());
  return 1;
}
