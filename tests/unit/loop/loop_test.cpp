// SPDX-License-Identifier: MIT
#include "daemon/loop/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using subset::Fd;
using subset::Loop;
using namespace std::chrono_literals;

namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    read_end = Fd(ends[0]);
    write_end = Fd(ends[1]);
  }
  void put() const { REQUIRE(::write(write_end.get(), "x", 1) == 1); }
  void take() const {
    char byte = 0;
    REQUIRE(::read(read_end.get(), &byte, 1) == 1);
  }
  Fd read_end;
  Fd write_end;
};

std::unique_ptr<Loop> make_loop() {
  auto loop = Loop::create();
  REQUIRE(loop);
  return std::move(*loop);
}

// Runs until something stops the loop; it may not take this long.
void run(Loop& loop, Loop::Duration limit = 20s) {
  bool late = false;
  auto guard = loop.after(limit, [&] {
    late = true;
    loop.stop();
  });
  REQUIRE(loop.run());
  CHECK_FALSE(late);
}

void run_for(Loop& loop, Loop::Duration duration) {
  auto timer = loop.after(duration, [&] { loop.stop(); });
  REQUIRE(loop.run());
}

// As many descriptors as the test may have, for `wanted` watches.
size_t affordable(size_t wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return std::min<size_t>(wanted, limit.rlim_cur - 100);
}

}  // namespace

TEST_CASE("a watch is level-triggered: it calls until what is ready was taken") {
  auto loop = make_loop();
  Pipe pipe;
  int calls = 0;
  for (int i = 0; i < 3; ++i) pipe.put();
  auto watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t events) {
    CHECK((events & POLLIN) != 0);
    pipe.take();
    if (++calls == 3) loop->stop();
  });
  run(*loop);
  run_for(*loop, 20ms);
  CHECK(calls == 3);
}

TEST_CASE("a watch says that the other end has gone") {
  auto loop = make_loop();
  Pipe pipe;
  uint32_t seen = 0;
  auto watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t events) {
    seen = events;
    loop->stop();
  });
  pipe.write_end.reset();
  run(*loop);
  CHECK((seen & POLLHUP) != 0);
}

TEST_CASE("POLLRDHUP is a bit like the others") {
  auto loop = make_loop();
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  REQUIRE(shutdown(theirs.get(), SHUT_WR) == 0);
  uint32_t seen = 0;
  auto watch = loop->watch(ours.get(), POLLRDHUP, [&](uint32_t events) {
    seen = events;
    loop->stop();
  });
  run(*loop);
  CHECK((seen & POLLRDHUP) != 0);
}

TEST_CASE("10,000 watches, all of them ready, twice") {
  auto loop = make_loop();
  const size_t count = affordable(10000);
  std::vector<Fd> files;
  std::vector<Loop::Handle> watches;
  std::vector<int> calls(count, 0);
  size_t served = 0;
  for (size_t i = 0; i < count; ++i) {
    files.emplace_back(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
    REQUIRE(files.back());
    watches.push_back(loop->watch(files.back().get(), POLLIN, [&, i](uint32_t) {
      eventfd_t value = 0;
      CHECK(eventfd_read(files[i].get(), &value) == 0);
      ++calls[i];
      if (++served % count == 0) loop->stop();
    }));
  }
  run(*loop);
  for (auto& file : files) REQUIRE(eventfd_write(file.get(), 1) == 0);
  run(*loop);
  CHECK(std::all_of(calls.begin(), calls.end(), [](int n) { return n == 2; }));
}

TEST_CASE("10,000 watches cancelled at once leave nothing behind") {
  auto loop = make_loop();
  const size_t count = affordable(10000);
  Fd file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::vector<Loop::Handle> watches;
  int calls = 0;
  for (size_t i = 0; i < count; ++i) {
    watches.push_back(loop->watch(file.get(), POLLIN, [&](uint32_t) { ++calls; }));
  }
  run_for(*loop, 1ms);
  auto cancel = loop->after(1ms, [&] {
    watches.clear();
    REQUIRE(eventfd_write(file.get(), 1) == 0);
  });
  run_for(*loop, 20ms);
  CHECK(calls == 0);
}

TEST_CASE("timers fire in the order of their time, and of their making where that is equal") {
  auto loop = make_loop();
  std::string order;
  std::map<std::chrono::steady_clock::time_point, char> due;  // time may pass between two of them
  auto set = [&](Loop::Duration delay, char name) {
    due[std::chrono::steady_clock::now() + delay] = name;
    return loop->after(delay, [&order, name] { order += name; });
  };
  auto third = set(60ms, 'c');
  auto first = set(20ms, 'a');
  auto second = set(40ms, 'b');
  auto cancelled = loop->after(30ms, [&] { order += 'x'; });
  cancelled.reset();
  auto last = loop->after(200ms, [&] { loop->stop(); });
  run(*loop);
  std::string expected;
  for (const auto& [time, name] : due) expected += name;
  CHECK(order == expected);
}

TEST_CASE("a timer is not early, and a single one fires once") {
  auto loop = make_loop();
  int calls = 0;
  auto start = std::chrono::steady_clock::now();
  auto timer = loop->after(10ms, [&] {
    ++calls;
    CHECK(std::chrono::steady_clock::now() - start >= 10ms);
  });
  run_for(*loop, 40ms);
  CHECK(calls == 1);
}

TEST_CASE("a period repeats until its handle goes, in its own handler too") {
  auto loop = make_loop();
  int calls = 0;
  Loop::Handle timer;
  Loop::Handle end;
  timer = loop->every(1ms, [&] {
    if (++calls != 5) return;
    end = loop->after(20ms, [&] { loop->stop(); });  // time enough for a sixth call
    timer.reset();
  });
  run(*loop);
  CHECK(calls == 5);
}

TEST_CASE("periods that a busy loop missed are skipped") {
  auto loop = make_loop();
  int calls = 0;
  auto timer = loop->every(1ms, [&] {
    if (++calls == 1) usleep(30000);
  });
  run_for(*loop, 33ms);
  CHECK(calls < 15);
}

TEST_CASE("timers that set each other leave watches their turn") {
  auto loop = make_loop();
  Pipe pipe;
  Loop::Handle timer;
  std::function<void()> again = [&] { timer = loop->after(0ns, again); };
  again();
  auto watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t) { loop->stop(); });
  pipe.put();
  run(*loop);
}

TEST_CASE("a timer cancels another one that is due in the same round") {
  auto loop = make_loop();
  int calls = 0;
  Loop::Handle one;
  Loop::Handle other;
  one = loop->after(1ms, [&] {
    ++calls;
    other.reset();
  });
  other = loop->after(1ms, [&] {
    ++calls;
    one.reset();
  });
  usleep(3000);
  run_for(*loop, 5ms);
  CHECK(calls == 1);
}

TEST_CASE("a watch is destroyed in its own handler, with what it captured") {
  auto loop = make_loop();
  Pipe pipe;
  pipe.put();
  auto captured = std::make_shared<std::string>("alive");
  std::weak_ptr<std::string> observed = captured;
  auto watch = std::make_unique<Loop::Handle>();
  int calls = 0;
  *watch = loop->watch(pipe.read_end.get(), POLLIN, [&, kept = std::move(captured)](uint32_t) {
    ++calls;
    watch.reset();
    CHECK(*kept == "alive");
  });
  run_for(*loop, 10ms);
  CHECK(calls == 1);
  CHECK(observed.expired());
}

TEST_CASE("a watch is replaced in its own handler") {
  auto loop = make_loop();
  Pipe pipe;
  pipe.put();
  std::string order;
  Loop::Handle watch;
  watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t) {
    order += 'a';
    watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t) {
      order += 'b';
      loop->stop();
    });
  });
  run(*loop);
  CHECK(order == "ab");
}

TEST_CASE("a watch that is ready and destroyed before its turn does not call") {
  auto loop = make_loop();
  Pipe one;
  Pipe two;
  one.put();
  two.put();
  int calls = 0;
  Loop::Handle first;
  Loop::Handle second;
  first = loop->watch(one.read_end.get(), POLLIN, [&](uint32_t) {
    ++calls;
    first.reset();
    second.reset();
  });
  second = loop->watch(two.read_end.get(), POLLIN, [&](uint32_t) {
    ++calls;
    first.reset();
    second.reset();
  });
  run_for(*loop, 10ms);
  CHECK(calls == 1);
}

TEST_CASE("a reused descriptor number is not confused with its predecessor") {
  auto loop = make_loop();
  int wrong = 0;
  int right = 0;
  for (int i = 0; i < 200; ++i) {
    auto old = std::make_unique<Pipe>();
    int number = old->read_end.get();
    auto gone = loop->watch(number, POLLIN, [&](uint32_t) { ++wrong; });
    if (i % 2 == 0) run_for(*loop, 0ns);  // armed, or not yet
    if (i % 3 == 0) old->put();           // ready, or not
    gone.reset();
    old.reset();
    Pipe fresh;
    CHECK(fresh.read_end.get() == number);
    auto watch = loop->watch(number, POLLIN, [&](uint32_t) {
      ++right;
      loop->stop();
    });
    fresh.put();
    run(*loop);
  }
  CHECK(wrong == 0);
  CHECK(right == 200);
}

TEST_CASE("a cancelled watch lets go of the file: the other end sees the close") {
  auto loop = make_loop();
  Pipe pipe;
  auto watch = loop->watch(pipe.read_end.get(), POLLIN, [](uint32_t) {});
  run_for(*loop, 1ms);
  SUBCASE("while the loop does not run") {
    watch.reset();
    pipe.read_end.reset();
  }
  SUBCASE("in a round") {
    auto timer = loop->after(0ns, [&] {
      watch.reset();
      pipe.read_end.reset();
    });
    run_for(*loop, 5ms);
  }
  pollfd end{.fd = pipe.write_end.get(), .events = 0, .revents = 0};
  CHECK(poll(&end, 1, 2000) == 1);
  CHECK((end.revents & POLLERR) != 0);
}

TEST_CASE("a descriptor that is not open gets POLLNVAL, once") {
  auto loop = make_loop();
  int number = -1;
  {
    Pipe pipe;
    number = pipe.read_end.get();
  }
  int calls = 0;
  auto watch = loop->watch(number, POLLIN, [&](uint32_t events) {
    ++calls;
    CHECK(events == POLLNVAL);
  });
  run_for(*loop, 10ms);
  CHECK(calls == 1);
}

TEST_CASE("a closed descriptor among many does not keep the others from their turn") {
  auto loop = make_loop();
  std::vector<Pipe> pipes(8);
  std::vector<Loop::Handle> watches;
  size_t calls = 0;
  for (auto& pipe : pipes) {
    pipe.put();
    watches.push_back(loop->watch(9999999, POLLIN, [](uint32_t) {}));
    watches.push_back(loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t) {
      pipe.take();
      if (++calls == pipes.size()) loop->stop();
    }));
  }
  run(*loop);
}

TEST_CASE("the end of a round comes once, after all handlers of the round") {
  auto loop = make_loop();
  std::vector<Pipe> pipes(50);
  std::vector<Loop::Handle> watches;
  size_t served = 0;
  bool asked = false;
  std::vector<size_t> ends;
  for (auto& pipe : pipes) {
    pipe.put();
    watches.push_back(loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t) {
      pipe.take();
      ++served;
      if (std::exchange(asked, true)) return;
      loop->at_end_of_round([&] {
        asked = false;
        ends.push_back(served);
        loop->stop();
      });
    }));
  }
  run(*loop);
  run_for(*loop, 5ms);
  CHECK(ends == std::vector<size_t>{pipes.size()});
}

TEST_CASE("what the end of a round asks for comes at the end of the next, without a sleep") {
  auto loop = make_loop();
  int depth = 0;
  std::function<void()> deeper = [&] {
    if (++depth == 10) return loop->stop();
    loop->at_end_of_round(deeper);
  };
  loop->at_end_of_round(deeper);
  run(*loop, 2s);
  CHECK(depth == 10);
}

TEST_CASE("stop ends the round that is under way, and a run that comes after it") {
  auto loop = make_loop();
  int calls = 0;
  auto timer = loop->every(1ms, [&] {
    ++calls;
    loop->stop();
  });
  run(*loop);
  CHECK(calls == 1);
  loop->stop();
  run(*loop);
  CHECK(calls == 1);
  run(*loop);
  CHECK(calls == 2);
}

TEST_CASE("signals do not end a run") {
  auto loop = make_loop();
  static volatile sig_atomic_t caught = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { caught = 1; };
  REQUIRE(sigaction(SIGALRM, &action, nullptr) == 0);
  ualarm(5000, 0);
  run_for(*loop, 40ms);
  CHECK(caught == 1);
}

TEST_CASE("handles outlive the loop") {
  Loop::Handle watch;
  Loop::Handle timer;
  Loop::Handle moved;
  Pipe pipe;
  {
    auto loop = make_loop();
    watch = loop->watch(pipe.read_end.get(), POLLIN, [](uint32_t) {});
    timer = loop->after(1h, [] {});
    run_for(*loop, 1ms);
  }
  moved = std::move(watch);
  CHECK(moved);
  moved.reset();
  CHECK_FALSE(moved);
}

TEST_CASE("a loop goes with handles in what its handlers captured") {
  auto loop = make_loop();
  auto inner = std::make_shared<Loop::Handle>(loop->after(1h, [] {}));
  auto outer = loop->after(1h, [inner] {});
  inner.reset();
  SUBCASE("the loop first") {
    loop.reset();
  }
  SUBCASE("the handle first") {
    outer.reset();
  }
}

TEST_CASE("a descriptor is closed aside") {
  auto loop = make_loop();
  Pipe pipe;
  loop->close_aside(std::move(pipe.write_end));
  loop->close_aside(Fd());
  uint32_t seen = 0;
  auto watch = loop->watch(pipe.read_end.get(), POLLIN, [&](uint32_t events) {
    seen = events;
    loop->stop();
  });
  run(*loop);
  CHECK((seen & POLLHUP) != 0);
}
