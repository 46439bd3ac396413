// SPDX-License-Identifier: MIT
// One user attacks the daemon with all that an unprivileged user has, while another one, as
// unprivileged, does what servers do: bind a socket, register it, close it. What is held to a limit
// is what the other one feels (99 of 100 registrations take less than 50 ms) and what the machine
// pays (less than 64 MB of memory). The attackers, each a process of its own, do at once and until
// they are told to stop: registrations that change groups as expensively as they can (other totals,
// other addresses), 100,000 at least; connections that are held open, 10,000 at least; descriptors
// of every wrong kind; a socket of another user that came into their hands; instances that are
// none; changes to the groups of others; questions whose answers nobody reads; noise. All go to the
// limits of one user, which is what is tested: that the limits are enough.
//
// There is one attempt, with the honest user's processes and the daemon at the priority that
// everybody has.
//
// Counters are in memory that all processes share, since an attacker that is refused goes on.
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "protocol/message.h"
#include "protocol/policy.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/hand_made.h"
#include "tests/system/harness/machine.h"

namespace subset::test {
namespace {

constexpr uid_t kHonest = 1;
constexpr uid_t kAttacker = kNobody;
constexpr char kHonestGroup[] = "udp/127.0.0.1:5353";
constexpr char kVictim[] = "127.0.0.1:5454";  // of the honest user too
constexpr uint64_t kRegistrations = 100'000;
constexpr uint64_t kConnections = 10'000;
constexpr auto kAtLeast = 8s;
constexpr auto kAtMost = 40s;
constexpr auto kSlowest = 50ms;
constexpr size_t kMostMemoryKb = 64 * 1024;

struct Board {
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> registrations = 0;
  std::atomic<uint64_t> connections = 0;
  std::atomic<uint64_t> descriptors = 0;
  std::atomic<uint64_t> of_others = 0;     // registrations of another user's socket
  std::atomic<uint64_t> out_of_range = 0;  // all of them refused
  std::atomic<uint64_t> changes = 0;
  std::atomic<uint64_t> wrongs = 0;  // successes with what nobody may do
  std::atomic<uint64_t> honest = 0;
  std::atomic<uint64_t> honest_failed = 0;
  std::array<std::atomic<uint32_t>, 1 << 16> honest_us{};
};

class SharedBoard {
 public:
  SharedBoard() {
    void* room =
        mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) throw std::bad_alloc();
    board_ = new (room) Board;
  }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  ~SharedBoard() { munmap(board_, sizeof(Board)); }
  Board& operator*() { return *board_; }
  Board* operator->() { return board_; }

 private:
  Board* board_;
};

// A process of that user that does `body` again and again until it is told to stop, whatever goes
// wrong.
class Actor {
 public:
  Actor(uid_t user, Board& board, const std::function<void()>& body) {
    pid_ = checked(fork(), "fork");
    if (pid_ != 0) return;
    const bool became = setgroups(0, nullptr) == 0 && setresgid(user, user, user) == 0 &&
                        setresuid(user, user, user) == 0;
    while (became && !board.stop) {
      try {
        body();
      } catch (const std::exception&) {
      }
    }
    _exit(0);
  }
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;
  ~Actor() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_ = -1;
};

// --- who wants to work --------------------------------------------------------------------------

void register_honestly(const std::string& daemon, Board& board) {
  const Fd socket = shared_socket("127.0.0.1:5353");
  const auto start = Clock::now();
  bool joined = false;
  try {
    joined = answer_to(daemon, bytes_of(registration(7, 4, kAnyInstance)), {socket.get()}, 2s) == 0;
  } catch (const std::exception&) {
  }
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  const uint64_t number = board.honest++;
  board.honest_us[number % board.honest_us.size()] = static_cast<uint32_t>(took.count());
  if (!joined) ++board.honest_failed;
  std::this_thread::sleep_for(2ms);
}

// --- who does not -------------------------------------------------------------------------------

// Each registration another total: a generation opens, stands alone, and is flipped to.
void attack_with_registrations(const std::string& daemon, Board& board) {
  static std::vector<Fd> sockets = [] {
    std::vector<Fd> made;
    for (int port = 20000; port < 20300; ++port)
      made.push_back(shared_socket("127.0.0.1:" + std::to_string(port)));
    return made;
  }();
  static uint32_t count = 0;
  const Connection connection = Connection::to(daemon);
  for (int i = 0; i < 64 && !board.stop; ++i, ++count) {
    const uint32_t total = 1 + count % 60;
    if (!connection.send(bytes_of(registration(count + 1, total, count % total)),
                         {sockets[count % sockets.size()].get()}))
      return;
    ++board.registrations;
  }
}

void attack_with_connections(const std::string& daemon, Board& board) {
  static std::vector<Connection> held;
  held.push_back(Connection::to(daemon));
  ++board.connections;
  if (held.size() >= 500) held.clear();
}

void attack_with_descriptors(const std::string& daemon, Board& board) {
  std::array<int, 2> pipe_ends{};
  std::array<int, 2> pair{};
  checked(pipe2(pipe_ends.data(), O_CLOEXEC), "pipe2");
  checked(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), "socketpair");
  const Fd owned[] = {Fd(pipe_ends[0]),
                      Fd(pipe_ends[1]),
                      Fd(pair[0]),
                      Fd(pair[1]),
                      Fd(memfd_create("x", MFD_CLOEXEC)),
                      Fd(epoll_create1(EPOLL_CLOEXEC)),
                      Fd(open("/dev/null", O_RDWR | O_CLOEXEC)),
                      Fd(open("/", O_PATH | O_CLOEXEC)),
                      Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                      Fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0))};
  for (const Fd& wrong : owned) {
    const Connection connection = Connection::to(daemon);
    connection.send(bytes_of(registration(1, 2, 0)), {wrong.get()});
    ++board.descriptors;
  }
  const Connection many = Connection::to(daemon);
  many.send(bytes_of(registration(1, 2, 0)), std::vector<int>(200, owned[0].get()));
}

// Other users' groups and sockets, instances that are none, questions whose answers nobody reads,
// noise. Who has got another's socket may let it join, since it could as well read from it: in the
// groups of its owner, as any other.
void attack_with_words(const std::string& daemon, Board& board, const Fd& of_other) {
  static uint32_t count = 0;
  protocol::Change change;
  std::strcpy(change.group, kHonestGroup);
  change.verb = protocol::Verb::Drain;
  change.instance = protocol::Change::kAll;
  if (answer_to(daemon, bytes_of(change), {}, 1s) == 0) ++board.wrongs;
  ++board.changes;
  const uint32_t total = 1 + ++count % 60;
  (void)answer_to(daemon, bytes_of(registration(count, total, count % total)), {of_other.get()},
                  1s);
  ++board.of_others;
  const Fd socket = shared_socket("127.0.0.1:20999");
  for (const uint32_t instance : {4u, 4096u, 0x7fffffffu}) {
    if (answer_to(daemon, bytes_of(registration(1, 4, instance)), {socket.get()}, 1s) == 0)
      ++board.wrongs;
    ++board.out_of_range;
  }
  const Connection curious = Connection::to(daemon);
  for (int i = 0; i < 10; ++i) curious.send(bytes_of(protocol::Status{}));
  const Connection follower = Connection::to(daemon);
  follower.send(bytes_of(protocol::Follow{}));
  const Connection noise = Connection::to(daemon);
  noise.send(std::string(200, '\xa5'));
}

// --- the verdict --------------------------------------------------------------------------------

std::chrono::microseconds percentile_99(const Board& board) {
  std::vector<uint32_t> all;
  const size_t count = std::min<size_t>(board.honest, board.honest_us.size());
  for (size_t i = 0; i < count; ++i) all.push_back(board.honest_us[i]);
  std::sort(all.begin(), all.end());
  return std::chrono::microseconds(all.empty() ? 0 : all[all.size() * 99 / 100]);
}

size_t peak_memory_kb(const DaemonProcess& daemon) {
  return std::stoul(daemon.kernel_says("VmHWM"));
}

void attack(const DaemonProcess& daemon) {
  SharedBoard board;
  const std::string& at = daemon.socket();
  const Fd of_other = shared_socket(kVictim);
  checked(fchown(of_other.get(), kHonest, kHonest), "fchown");
  {
    const Actor honest(kHonest, *board, [&] { register_honestly(at, *board); });
    REQUIRE(eventually([&] { return board->honest > 10; }));
    const Actor first(kAttacker, *board, [&] { attack_with_registrations(at, *board); });
    const Actor second(kAttacker, *board, [&] { attack_with_connections(at, *board); });
    const Actor third(kAttacker, *board, [&] { attack_with_descriptors(at, *board); });
    const Actor fourth(kAttacker, *board, [&] { attack_with_words(at, *board, of_other); });
    const auto start = Clock::now();
    CHECK(eventually(
        [&] {
          return Clock::now() - start > kAtLeast && board->registrations >= kRegistrations &&
                 board->connections >= kConnections;
        },
        kAtMost));
    board->stop = true;
  }
  REQUIRE(daemon.alive());
  const auto slowest = percentile_99(*board);
  MESSAGE(board->honest.load(), " honest registrations, 99% within ", slowest.count(), " us; ",
          board->registrations.load(), " hostile ones, ", board->connections.load(),
          " connections, ", board->descriptors.load(), " wrong descriptors, ",
          board->of_others.load(), " sockets of another, ", board->out_of_range.load(),
          " instances out of range, ", board->changes.load(), " changes");
  CHECK(slowest < kSlowest);
  CHECK(board->honest > 100);
  CHECK(board->honest_failed == 0);
  for (const auto* kind :
       {&board->descriptors, &board->of_others, &board->out_of_range, &board->changes})
    CHECK(*kind > 0);
  CHECK(board->wrongs == 0);
}

TEST_SUITE("system") {
  TEST_CASE("a hostile user neither delays another one nor fills the memory") {
    Machine machine;
    DaemonProcess daemon(machine);
    const size_t descriptors = daemon.idle_descriptors();
    attack(daemon);
    MESSAGE("daemon ", peak_memory_kb(daemon), " kB");
    CHECK(peak_memory_kb(daemon) < kMostMemoryKb);
    // What the attackers had goes with them: groups linger for their counters, and nothing else.
    CHECK(eventually([&] {
      const Document status = daemon.status();
      return std::all_of(status.groups.begin(), status.groups.end(),
                         [](const GroupStatus& group) { return group.active() == 0; });
    }));
    MESSAGE("descriptors ", descriptors, " before, ", daemon.idle_descriptors(), " after");
  }
}

}  // namespace
}  // namespace subset::test
