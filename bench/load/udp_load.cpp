// SPDX-License-Identifier: MIT
// Asks a UDP service questions and counts the answers: as fast as they come (each flow asks anew
// when it was answered), or at a fixed rate, which shows what is lost. Prints one line of JSON.
//
// One thread is one io_uring; a receive of each socket stays armed, so that a question and its
// answer take no system call of their own while the service is busy.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/address.h"
#include "bench/load/latencies.h"
#include "bench/load/ring.h"
#include "bench/load/thread.h"
#include "bench/load/udp_protocol.h"
#include "daemon/base/fd.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  std::string to;
  std::string protocol = "echo";
  unsigned flows = 256;
  double seconds = 1;
  double rate = 0;  // questions a second in all; 0: as fast as answers come
  unsigned timeout_ms = 250;
  std::vector<int> cpus;  // a thread for each, there; none: one thread, anywhere
};

// Questions of one flow that are on their way. More than one only at a fixed rate.
constexpr unsigned kDepth = 16;

struct Question {
  uint64_t sent_ns = 0;  // 0: answered, or given up
  uint16_t id = 0;
  char text[kMaxQuestion] = {};
};

struct Flow {
  Fd socket;
  uint16_t next = 0;
  Question questions[kDepth];
};

struct Tally {
  uint64_t sent = 0;
  uint64_t answers = 0;
  uint64_t lost = 0;     // not answered in time, or refused
  uint64_t wrong = 0;    // answered with something else than what was asked for
  uint64_t late = 0;     // answered after it was given up
  uint64_t skipped = 0;  // not sent at its time, as the flow waits for kDepth answers
  uint64_t busy_ns = 0;  // CPU time of the threads
  Latencies latencies;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> create(const Options& options, const sockaddr_in& to,
                                                const UdpProtocol& protocol, unsigned first_flow,
                                                unsigned flows, double rate) {
    auto ring = Ring::create(1024, 1024, 512);
    if (!ring) return tl::unexpected(ring.error());
    std::unique_ptr<Client> client(new Client(options, protocol, std::move(*ring), rate));
    for (unsigned i = 0; i < flows; i++) {
      auto socket = connect_flow(to, first_flow + i);
      if (!socket) return tl::unexpected(socket.error());
      client->flows_.emplace_back().socket = std::move(*socket);
    }
    return client;
  }

  Tally run() {
    const uint64_t cpu_before = thread_cpu_ns();
    start_ns_ = now_ = now_ns();
    const uint64_t end = start_ns_ + static_cast<uint64_t>(options_.seconds * 1e9);
    for (uint32_t flow = 0; flow < flows_.size(); flow++) {
      arm(flow);
      if (rate_ == 0) ask(flow);
    }
    while (now_ < end) {
      if (rate_ > 0) ask_what_is_due();
      turn(rate_ > 0 ? 200'000 : 5'000'000);
    }
    tally_.busy_ns = thread_cpu_ns() - cpu_before;
    asking_ = false;  // what is on its way still counts
    while (waiting_ > 0 && now_ < end + timeout_ns_ * 2) turn(5'000'000);
    return std::move(tally_);
  }

 private:
  enum class What : uint32_t { Receive, Send };

  Client(const Options& options, const UdpProtocol& protocol, std::unique_ptr<Ring> ring,
         double rate)
      : options_(options),
        protocol_(protocol),
        ring_(std::move(ring)),
        rate_(rate),
        timeout_ns_(uint64_t{options.timeout_ms} * 1'000'000) {
    tally_.latencies.reserve(1u << 17);
  }

  static Result<Fd> connect_flow(const sockaddr_in& to, unsigned flow) {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("make a socket");
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr = client_address(flow / 64);
    if (bind(socket.get(), generic(from), sizeof from) != 0) return fail_errno("bind a client");
    if (connect(socket.get(), generic(to), sizeof to) != 0) return fail_errno("connect");
    return socket;
  }

  static uint64_t label(What what, uint32_t flow, uint32_t question = 0) {
    return uint64_t{static_cast<uint32_t>(what)} << 48 | uint64_t{question} << 32 | flow;
  }

  void arm(uint32_t flow) {
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_recv_multishot(sqe, flows_[flow].socket.get(), nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = Ring::kBufferGroup;
    sqe->user_data = label(What::Receive, flow);
  }

  void ask(uint32_t flow) {
    Flow& asking = flows_[flow];
    const uint16_t id = asking.next++;
    Question& question = asking.questions[id % kDepth];
    if (question.sent_ns != 0) {
      tally_.skipped++;
      return;
    }
    question.sent_ns = now_;
    question.id = id;
    const size_t length = protocol_.write(question.text, id);
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_send(sqe, asking.socket.get(), question.text, length, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = label(What::Send, flow, id % kDepth);
    tally_.sent++;
    waiting_++;
  }

  void ask_what_is_due() {
    const auto due = static_cast<uint64_t>(static_cast<double>(now_ - start_ns_) / 1e9 * rate_);
    for (; paced_ < due; paced_++) ask(static_cast<uint32_t>(paced_ % flows_.size()));
  }

  void turn(uint64_t wait_ns) {
    ring_->wait(wait_ns);
    now_ = now_ns();
    ring_->complete([&](const io_uring_cqe& cqe) {
      const auto flow = static_cast<uint32_t>(cqe.user_data);
      if (static_cast<What>(cqe.user_data >> 48) == What::Send)
        give_up(flow, flows_[flow].questions[(cqe.user_data >> 32) % kDepth]);
      else
        received(flow, cqe);
    });
    if (now_ - swept_ns_ > 10'000'000) sweep();
  }

  void received(uint32_t flow, const io_uring_cqe& cqe) {
    if (cqe.flags & IORING_CQE_F_BUFFER) {
      if (cqe.res > 0) answered(flow, {ring_->buffer(cqe), static_cast<size_t>(cqe.res)});
      ring_->give_back(cqe);
    }
    // An error of the socket (nobody listens there) ends the receive, as do too few buffers.
    if (!(cqe.flags & IORING_CQE_F_MORE)) arm(flow);
  }

  void answered(uint32_t flow, std::string_view text) {
    const uint16_t id = protocol_.id_of(text);
    Question& question = flows_[flow].questions[id % kDepth];
    if (question.sent_ns == 0 || question.id != id) {
      tally_.late++;
      return;
    }
    // The clock of this turn of the ring: one for each answer would cost as much as the answer.
    tally_.latencies.add(now_ - question.sent_ns);
    question.sent_ns = 0;
    waiting_--;
    tally_.answers++;
    if (!protocol_.is_answer(text)) tally_.wrong++;
    if (asking_ && rate_ == 0) ask(flow);
  }

  void give_up(uint32_t flow, Question& question) {
    if (question.sent_ns == 0) return;
    question.sent_ns = 0;
    waiting_--;
    tally_.lost++;
    // Not at once: nobody may be there to answer.
    if (asking_ && rate_ == 0) again_.push_back(flow);
  }

  void sweep() {
    swept_ns_ = now_;
    for (const uint32_t flow : std::exchange(again_, {})) ask(flow);
    for (uint32_t flow = 0; flow < flows_.size(); flow++) {
      for (Question& question : flows_[flow].questions) {
        if (question.sent_ns != 0 && now_ - question.sent_ns > timeout_ns_) give_up(flow, question);
      }
    }
  }

  const Options& options_;
  const UdpProtocol& protocol_;
  std::unique_ptr<Ring> ring_;
  const double rate_;
  const uint64_t timeout_ns_;
  std::vector<Flow> flows_;
  std::vector<uint32_t> again_;
  Tally tally_;
  uint64_t start_ns_ = 0;
  uint64_t now_ = 0;
  uint64_t swept_ns_ = 0;
  uint64_t paced_ = 0;
  uint64_t waiting_ = 0;
  bool asking_ = true;
};

Result<Tally> run_thread(const Options& options, const sockaddr_in& to, const UdpProtocol& protocol,
                         unsigned index, unsigned threads) {
  if (!options.cpus.empty()) {
    if (auto pinned = pin_to(options.cpus[index]); !pinned) return tl::unexpected(pinned.error());
  }
  const unsigned flows = std::max(1u, options.flows / threads);
  auto client = Client::create(options, to, protocol, index * flows, flows, options.rate / threads);
  if (!client) return tl::unexpected(client.error());
  return (*client)->run();
}

Result<Tally> run_all(const Options& options) {
  auto to = parse_address(options.to);
  if (!to) return tl::unexpected(to.error());
  const auto protocol = UdpProtocol::named(options.protocol);
  if (!protocol) return tl::unexpected(protocol.error());
  const auto threads = static_cast<unsigned>(std::max<size_t>(1, options.cpus.size()));
  std::vector<Result<Tally>> tallies(threads);
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; i++)
    running.emplace_back([&, i] { tallies[i] = run_thread(options, *to, *protocol, i, threads); });
  for (auto& thread : running) thread.join();
  Tally sum;
  for (auto& tally : tallies) {
    if (!tally) return tally;
    sum.sent += tally->sent;
    sum.answers += tally->answers;
    sum.lost += tally->lost;
    sum.wrong += tally->wrong;
    sum.late += tally->late;
    sum.skipped += tally->skipped;
    sum.busy_ns += tally->busy_ns;
    sum.latencies.merge(tally->latencies);
  }
  return sum;
}

void print(const Options& options, Tally& tally) {
  nlohmann::json out = tally.latencies.summary();
  const double threads = static_cast<double>(std::max<size_t>(1, options.cpus.size()));
  out["seconds"] = options.seconds;
  out["sent"] = tally.sent;
  out["answers"] = tally.answers;
  out["lost"] = tally.lost;
  out["wrong"] = tally.wrong;
  out["late"] = tally.late;
  out["skipped"] = tally.skipped;
  out["rate"] = static_cast<double>(tally.answers) / options.seconds;
  out["busy"] = static_cast<double>(tally.busy_ns) / 1e9 / options.seconds / threads;
  std::puts(out.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Asks a UDP service questions and prints what came of it as JSON", "udp_load"};
  app.add_option("--to", options.to, "IPv4 address and port")->required();
  app.add_option("--protocol", options.protocol, "echo, dns or memcached")->capture_default_str();
  app.add_option("--flows", options.flows, "client sockets in all")->capture_default_str();
  app.add_option("--seconds", options.seconds, "how long")->capture_default_str();
  app.add_option("--rate", options.rate, "questions a second; 0: as fast as answers come")
      ->capture_default_str();
  app.add_option("--timeout-ms", options.timeout_ms, "an answer that takes longer is lost")
      ->capture_default_str();
  app.add_option("--cpus", options.cpus, "a thread on each of these; none: one thread, anywhere")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  allow_descriptors();
  auto tally = run_all(options);
  if (!tally) {
    std::fprintf(stderr, "udp_load: %s\n", tally.error().message().c_str());
    return 1;
  }
  print(options, *tally);
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "udp_load: %s\n", error.what());
  return 1;
}
