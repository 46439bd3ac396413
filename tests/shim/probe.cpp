// SPDX-License-Identifier: MIT
// A little server to preload the shim into. Each argument is an operation, NAME[,ARGUMENT...], on
// the current socket; each prints one line: its name, and "ok", a value, or the name of the errno.
// "ok!" means that a call succeeded and touched errno all the same.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "include/subset/so_subset.h"

namespace {

using Arguments = std::vector<std::string>;

constexpr int kUntouched = 4242;

const char* self = nullptr;
int current = -1;
std::string operation;

void say(const std::string& result) {
  dprintf(STDOUT_FILENO, "%s %s\n", operation.c_str(), result.c_str());
}

// Runs a call with a known errno before it, and says how it went.
template <typename Call>
void report(Call call) {
  errno = kUntouched;
  const int result = call();
  if (result < 0)
    say(strerrorname_np(errno));
  else
    say(errno == kUntouched ? "ok" : "ok!");
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Address address_of(const std::string& host, const std::string& port) {
  Address address;
  if (host.find(':') == std::string::npos) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<uint16_t>(stoi(port)));
    inet_pton(AF_INET, host.c_str(), &in->sin_addr);
    address.length = sizeof *in;
  } else {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<uint16_t>(stoi(port)));
    inet_pton(AF_INET6, host.c_str(), &in6->sin6_addr);
    address.length = sizeof *in6;
  }
  return address;
}

uint32_t number_of(const std::string& text) {
  return text == "any" ? SO_SUBSET_ANY : static_cast<uint32_t>(stoul(text));
}

int bind_to(int fd, const Arguments& where) {
  const Address address = address_of(where.at(0), where.at(1));
  return bind(fd, address.get(), address.length);
}

void open_current(int family, int type, int protocol) {
  current = socket(family, type, protocol);
  if (current < 0) say(strerrorname_np(errno));
}

void declare(const Arguments& arguments) {
  const so_subset share{number_of(arguments.at(0)), number_of(arguments.at(1))};
  report([&] { return setsockopt(current, SOL_SOCKET, SO_SUBSET, &share, sizeof share); });
}

void declare_with_length(const Arguments& arguments) {
  const so_subset share[2] = {{4, 1}, {}};
  const auto length = static_cast<socklen_t>(stoi(arguments.at(0)));
  report([&] { return setsockopt(current, SOL_SOCKET, SO_SUBSET, share, length); });
}

// Says "INSTANCE/TOTAL", and the length if it is another than that of the whole.
void get(const Arguments& arguments) {
  so_subset share{};
  auto length = static_cast<socklen_t>(arguments.empty() ? sizeof share : stoul(arguments[0]));
  errno = kUntouched;
  if (getsockopt(current, SOL_SOCKET, SO_SUBSET, &share, &length) != 0)
    return say(strerrorname_np(errno));
  std::ostringstream text;
  text << share.instance << '/' << share.total;
  if (length != sizeof share) text << " length " << length;
  if (errno != kUntouched) text << '!';
  say(text.str());
}

void set_reuseport(const Arguments& arguments) {
  const int value = stoi(arguments.at(0));
  const auto length = static_cast<socklen_t>(arguments.size() > 1 ? stoul(arguments[1]) : 4);
  report([&] { return setsockopt(current, SOL_SOCKET, SO_REUSEPORT, &value, length); });
}

void get_reuseport(const Arguments&) {
  int value = -1;
  socklen_t length = sizeof value;
  getsockopt(current, SOL_SOCKET, SO_REUSEPORT, &value, &length);
  say(std::to_string(value));
}

void dissolve(const Arguments&) {
  const sockaddr nowhere{};
  report([&] { return connect(current, &nowhere, sizeof nowhere); });
}

void count_descriptors(const Arguments&) {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  say(std::to_string(count));
}

void close_all_but_stdout(const Arguments&) {
  for (int fd = 0; fd < 1024; ++fd)
    if (fd != STDOUT_FILENO) close(fd);
  say("ok");
}

std::atomic<int> alarms{0};

// Without SA_RESTART: every call that waits is interrupted, a thousand times a second and more.
void start_storm(const Arguments&) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++alarms; };
  sigaction(SIGALRM, &action, nullptr);
  const itimerval often = {.it_interval = {.tv_sec = 0, .tv_usec = 300},
                           .it_value = {.tv_sec = 0, .tv_usec = 300}};
  setitimer(ITIMER_REAL, &often, nullptr);
  say("ok");
}

void end_storm(const Arguments&) {
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  say(alarms > 0 ? "ok" : "no alarm came");
}

int bind_new_socket(const Arguments& where) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return bind_to(fd, where);
}

void bind_many(const Arguments& arguments) {
  int bound = 0;
  for (uint32_t i = 0; i < number_of(arguments.at(0)); ++i)
    bound += bind_new_socket({arguments.at(1), arguments.at(2)}) == 0;
  say(std::to_string(bound));
}

void bind_in_threads(const Arguments& arguments) {
  std::atomic<int> bound{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < number_of(arguments.at(0)); ++i)
    threads.emplace_back([&] {
      bound += bind_new_socket({arguments.at(1), arguments.at(2)}) == 0;
    });
  for (std::thread& thread : threads) thread.join();
  say(std::to_string(bound));
}

// A thread with a cancellation pending binds: bind is no cancellation point, so it must come back.
void bind_cancelled(const Arguments& arguments) {
  std::atomic<int> result{1};
  std::thread thread([&] {
    pthread_cancel(pthread_self());
    result = bind_new_socket(arguments);
  });
  thread.join();
  say(result == 0 ? "ok" : "cancelled");
}

void wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  say(status == 0 ? "ok" : "failed");
}

// The child shares our memory until it has executed.
void vfork_and_exec(const Arguments&) {
  const pid_t child = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (child == 0) {
    execl(self, self, static_cast<char*>(nullptr));
    _exit(127);
  }
  wait_for(child);
}

// The child's copy of the descriptor, but the parent's memory.
void close_in_vfork(const Arguments&) {
  const pid_t child = vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (child == 0) {
    close(current);
    _exit(0);
  }
  wait_for(child);
}

void spawn(const Arguments&) {
  pid_t child = 0;
  char* const arguments[] = {const_cast<char*>(self), nullptr};
  if (posix_spawn(&child, self, nullptr, nullptr, arguments, environ) != 0) return say("failed");
  wait_for(child);
}

// Runs the probe with an empty environment, to bind to the port that is given.
struct CleanRun {
  std::string bind;
  char* arguments[4];
  char* environment[1] = {nullptr};

  explicit CleanRun(const Arguments& port)
      : bind("bind,127.0.0.1," + port.at(0)),
        arguments{const_cast<char*>(self), const_cast<char*>("udp4"), bind.data(), nullptr} {}
};

void execute_clean(const Arguments& port) {
  CleanRun run(port);
  const pid_t child = fork();
  if (child == 0) {
    execve(self, run.arguments, run.environment);
    _exit(127);
  }
  wait_for(child);
}

template <typename Spawn>
void spawn_clean(Spawn call, const Arguments& port) {
  CleanRun run(port);
  pid_t child = 0;
  if (call(&child, self, nullptr, nullptr, run.arguments, run.environment) != 0)
    return say("failed");
  wait_for(child);
}

// The rest happens in a child.
void fork_here(const Arguments&) {
  const pid_t child = fork();
  if (child == 0) return;
  int status = 0;
  waitpid(child, &status, 0);
  _exit(WEXITSTATUS(status));
}

Address local_address() {
  Address address;
  address.length = sizeof address.storage;
  getsockname(current, reinterpret_cast<sockaddr*>(&address.storage), &address.length);
  return address;
}

// A datagram from the socket to itself, as the calls of a server's main loop.
void echo_datagram(const Arguments&) {
  char byte = 'x';
  Address to = local_address();
  report([&] {
    const auto* address = to.get();
    if (sendto(current, &byte, 1, 0, address, to.length) != 1) return -1;
    return static_cast<int>(recvfrom(current, &byte, 1, 0, nullptr, nullptr)) - 1;
  });
}

void accept_connection(const Arguments&) {
  const Address to = local_address();
  report([&] {
    const int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, to.get(), to.length) != 0) return -1;
    const int accepted = accept4(current, nullptr, nullptr, SOCK_CLOEXEC);
    char byte = 'x';
    if (accepted < 0 || write(client, &byte, 1) != 1 || read(accepted, &byte, 1) != 1) return -1;
    close(accepted);
    return close(client);
  });
}

void count_cpus(const Arguments&) {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  say(std::to_string(CPU_COUNT(&set)));
}

void elapsed(const Arguments&) {
  static timespec last{};
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto ms = (now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1'000'000;
  if (last.tv_sec) say(std::to_string(ms));
  last = now;
}

// A pipe whose reader has gone, as standard error.
void break_stderr(const Arguments&) {
  int ends[2];
  if (pipe(ends) != 0) return say("failed");
  dup2(ends[1], STDERR_FILENO);
  close(ends[0]);
  close(ends[1]);
  say("ok");
}

const std::map<std::string, std::function<void(const Arguments&)>> kOperations = {
    {"udp4", [](auto&) { open_current(AF_INET, SOCK_DGRAM, 0); }},
    {"udp6", [](auto&) { open_current(AF_INET6, SOCK_DGRAM, 0); }},
    {"tcp4", [](auto&) { open_current(AF_INET, SOCK_STREAM, 0); }},
    {"tcp6", [](auto&) { open_current(AF_INET6, SOCK_STREAM, 0); }},
    {"mptcp", [](auto&) { open_current(AF_INET, SOCK_STREAM, 262); }},
    {"unix", [](auto&) { open_current(AF_UNIX, SOCK_DGRAM, 0); }},
    {"file", [](auto&) { current = open("/dev/null", O_RDONLY); }},
    {"none", [](auto&) { current = 999; }},
    {"bind", [](auto& where) { report([&] { return bind_to(current, where); }); }},
    {"listen", [](auto& a) { report([&] { return listen(current, stoi(a.at(0))); }); }},
    {"connect",
     [](auto& a) {
       const Address to = address_of(a.at(0), a.at(1));
       report([&] { return connect(current, to.get(), to.length); });
     }},
    {"dissolve", dissolve},
    {"shutdown", [](auto&) { report([] { return shutdown(current, SHUT_RD); }); }},
    {"declare", declare},
    {"length", declare_with_length},
    {"null", [](auto&) { report([] { return setsockopt(current, 1, SO_SUBSET, nullptr, 8); }); }},
    {"get", get},
    {"reuseport", set_reuseport},
    {"reuseport?", get_reuseport},
    {"descriptors", count_descriptors},
    {"close", [](auto&) { close(current); }},
    {"closeall", close_all_but_stdout},
    {"vforkclose", close_in_vfork},
    {"confine", [](auto&) { report([] { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }); }},
    {"storm", start_storm},
    {"calm", end_storm},
    {"many", bind_many},
    {"threads", bind_in_threads},
    {"cancelled", bind_cancelled},
    {"vfork", vfork_and_exec},
    {"spawn", spawn},
    {"cleanexec", execute_clean},
    {"cleanspawn", [](auto& port) { spawn_clean(posix_spawn, port); }},
    {"cleanspawnp", [](auto& port) { spawn_clean(posix_spawnp, port); }},
    {"fork", fork_here},
    {"datagram", echo_datagram},
    {"accept", accept_connection},
    {"mark", [](auto&) { getppid(); }},
    {"cpus", count_cpus},
    {"ms", elapsed},
    {"badstderr", break_stderr},
};

void execute(const std::string& text) {
  std::istringstream parts(text);
  std::getline(parts, operation, ',');
  Arguments arguments;
  for (std::string part; std::getline(parts, part, ',');) arguments.push_back(part);
  const auto found = kOperations.find(operation);
  if (found == kOperations.end()) return say("is not an operation");
  found->second(arguments);
}

}  // namespace

int main(int argc, char** argv) {
  self = argv[0];
  for (int i = 1; i < argc; ++i) execute(argv[i]);
  return 0;
}
