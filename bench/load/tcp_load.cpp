// SPDX-License-Identifier: MIT
// Opens short connections, one request on each, with TLS or without: as fast as they are answered,
// or at a fixed rate, which shows what is lost. Prints one line of JSON.
//
// The requests say `Connection: close`, and an answer ends with the server's end of the stream:
// that is when a connection counts. Client addresses change, so that no port is missed while the
// server's side of the last connection from there waits out its TIME_WAIT.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <openssl/ssl.h>

#include "bench/load/address.h"
#include "bench/load/latencies.h"
#include "bench/load/ring.h"
#include "bench/load/thread.h"
#include "daemon/base/fd.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  std::string to;
  bool tls = false;
  unsigned concurrent = 32;
  double seconds = 1;
  double rate = 0;  // connections a second in all; 0: as fast as they are answered
  unsigned timeout_ms = 1000;
  std::vector<int> cpus;  // a thread for each, there; none: one thread, anywhere
};

constexpr std::string_view kRequest = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

struct Tally {
  uint64_t opened = 0;
  uint64_t answers = 0;
  uint64_t refused = 0;  // by connect
  uint64_t reset = 0;    // or closed without an answer
  uint64_t wrong = 0;    // answered with something else than 200
  uint64_t timeouts = 0;
  uint64_t skipped = 0;  // not opened at its time, as so many are open
  uint64_t busy_ns = 0;  // CPU time of the threads
  Latencies latencies;
};

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct FreeSession {
  void operator()(SSL* session) const { SSL_free(session); }
};
using TlsContext = std::unique_ptr<SSL_CTX, FreeContext>;

// One connection at a time; taken again when it has ended.
struct Connection {
  Fd socket;
  uint64_t opened_ns = 0;  // 0: idle
  uint32_t turn = 0;       // which use of this entry: completions of an earlier one are ignored
  std::unique_ptr<SSL, FreeSession> tls;
  std::string answer;  // its first bytes
  char out[4096] = {};
  char in[16384] = {};
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> create(const Options& options, const sockaddr_in& to,
                                                SSL_CTX* tls, unsigned index, unsigned threads) {
    auto ring = Ring::create(1024, 0, 0);
    if (!ring) return tl::unexpected(ring.error());
    return std::unique_ptr<Client>(new Client(options, to, tls, std::move(*ring), index, threads));
  }

  Tally run() {
    const uint64_t cpu_before = thread_cpu_ns();
    start_ns_ = now_ = now_ns();
    const uint64_t end = start_ns_ + static_cast<uint64_t>(options_.seconds * 1e9);
    while (now_ < end) {
      open_what_is_due();
      turn(rate_ > 0 ? 200'000 : 5'000'000);
    }
    tally_.busy_ns = thread_cpu_ns() - cpu_before;
    // What is on its way still counts, but for the rate: that is of the time asked for.
    while (open_ > 0 && now_ < end + timeout_ns_ * 2) turn(5'000'000);
    return std::move(tally_);
  }

 private:
  enum class What : uint32_t { Connect, Send, Receive };

  Client(const Options& options, const sockaddr_in& to, SSL_CTX* tls, std::unique_ptr<Ring> ring,
         unsigned index, unsigned threads)
      : options_(options),
        to_(to),
        tls_(tls),
        ring_(std::move(ring)),
        rate_(options.rate / threads),
        timeout_ns_(uint64_t{options.timeout_ms} * 1'000'000),
        connections_(std::max(1u, options.concurrent / threads)),
        next_address_(index * 8191) {
    for (uint32_t i = 0; i < connections_.size(); i++) idle_.push_back(i);
  }

  void open_what_is_due() {
    if (rate_ == 0) {
      while (!idle_.empty()) open_next();
      return;
    }
    const auto due = static_cast<uint64_t>(static_cast<double>(now_ - start_ns_) / 1e9 * rate_);
    for (; paced_ < due; paced_++) {
      if (idle_.empty())
        tally_.skipped++;
      else
        open_next();
    }
  }

  void open_next() {
    const uint32_t index = idle_.back();
    idle_.pop_back();
    Connection& connection = connections_[index];
    connection.socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    connection.opened_ns = now_;
    connection.turn++;
    connection.answer.clear();
    const int on = 1;
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr = client_address(next_address_++);
    setsockopt(connection.socket.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(connection.socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)!bind(connection.socket.get(), generic(from), sizeof from);
    if (tls_) start_tls(connection);
    tally_.opened++;
    open_++;
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_connect(sqe, connection.socket.get(), generic(to_), sizeof to_);
    sqe->user_data = label(What::Connect, index);
  }

  void start_tls(Connection& connection) {
    connection.tls.reset(SSL_new(tls_));
    SSL_set_bio(connection.tls.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(connection.tls.get());
  }

  uint64_t label(What what, uint32_t index) const {
    return uint64_t{connections_[index].turn} << 32 | uint64_t{static_cast<uint32_t>(what)} << 28 |
           index;
  }

  void turn(uint64_t wait_ns) {
    ring_->wait(wait_ns);
    now_ = now_ns();
    ring_->complete([&](const io_uring_cqe& cqe) {
      const auto index = static_cast<uint32_t>(cqe.user_data & 0x0fffffff);
      Connection& connection = connections_[index];
      if (connection.opened_ns == 0 || connection.turn != cqe.user_data >> 32) return;
      step(index, static_cast<What>(cqe.user_data >> 28 & 0xf), cqe.res);
    });
    if (now_ - swept_ns_ > 20'000'000) sweep();
  }

  void step(uint32_t index, What what, int result) {
    switch (what) {
      case What::Connect:
        if (result < 0) return end(index, tally_.refused);
        if (!tls_)
          send_plain(index, kRequest);
        else
          advance_tls(index);
        break;
      case What::Send:
        if (result < 0) return end(index, tally_.reset);
        receive(index);
        break;
      case What::Receive:
        if (result < 0) return end(index, tally_.reset);
        received(index, static_cast<size_t>(result));
        break;
    }
  }

  void send_plain(uint32_t index, std::string_view text) {
    Connection& connection = connections_[index];
    text.copy(connection.out, sizeof connection.out);
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_send(sqe, connection.socket.get(), connection.out, text.size(), MSG_NOSIGNAL);
    sqe->user_data = label(What::Send, index);
  }

  void receive(uint32_t index) {
    Connection& connection = connections_[index];
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_recv(sqe, connection.socket.get(), connection.in, sizeof connection.in, 0);
    sqe->user_data = label(What::Receive, index);
  }

  void received(uint32_t index, size_t bytes) {
    Connection& connection = connections_[index];
    if (bytes == 0) return finish(index);
    if (tls_) {
      BIO_write(SSL_get_rbio(connection.tls.get()), connection.in, static_cast<int>(bytes));
      return advance_tls(index);
    }
    keep(connection, {connection.in, bytes});
    receive(index);
  }

  // Handshake, request, answer: whatever can be done with what has come so far; then what it wants
  // to say is sent, or more is waited for.
  void advance_tls(uint32_t index) {
    Connection& connection = connections_[index];
    SSL* tls = connection.tls.get();
    if (!SSL_is_init_finished(tls)) {
      const int done = SSL_do_handshake(tls);
      if (done == 1) {
        SSL_write(tls, kRequest.data(), static_cast<int>(kRequest.size()));
      } else if (SSL_get_error(tls, done) != SSL_ERROR_WANT_READ) {
        return end(index, tally_.reset);
      }
    }
    char text[4096];
    int got = 0;
    while (SSL_is_init_finished(tls) && (got = SSL_read(tls, text, sizeof text)) > 0)
      keep(connection, {text, static_cast<size_t>(got)});
    if (SSL_get_shutdown(tls) & SSL_RECEIVED_SHUTDOWN) return finish(index);
    const int out = BIO_read(SSL_get_wbio(tls), connection.out, sizeof connection.out);
    if (out <= 0) return receive(index);
    io_uring_sqe* sqe = ring_->entry();
    io_uring_prep_send(sqe, connection.socket.get(), connection.out, static_cast<size_t>(out),
                       MSG_NOSIGNAL);
    sqe->user_data = label(What::Send, index);
  }

  static void keep(Connection& connection, std::string_view text) {
    constexpr size_t kEnough = 64;
    if (connection.answer.size() < kEnough) connection.answer.append(text.substr(0, kEnough));
  }

  void finish(uint32_t index) {
    Connection& connection = connections_[index];
    if (connection.answer.empty()) return end(index, tally_.reset);
    if (connection.answer.compare(0, 12, "HTTP/1.1 200") != 0) return end(index, tally_.wrong);
    tally_.latencies.add(now_ - connection.opened_ns);
    end(index, tally_.answers);
  }

  void end(uint32_t index, uint64_t& counted_as) {
    Connection& connection = connections_[index];
    counted_as++;
    connection.opened_ns = 0;
    connection.tls.reset();
    connection.socket.reset();
    idle_.push_back(index);
    open_--;
  }

  void sweep() {
    swept_ns_ = now_;
    for (uint32_t index = 0; index < connections_.size(); index++) {
      Connection& connection = connections_[index];
      if (connection.opened_ns == 0 || now_ - connection.opened_ns < timeout_ns_) continue;
      // Ends what the ring still waits for, so that its buffers are free when they are used again.
      shutdown(connection.socket.get(), SHUT_RDWR);
      end(index, tally_.timeouts);
    }
  }

  const Options& options_;
  const sockaddr_in to_;
  SSL_CTX* tls_;
  std::unique_ptr<Ring> ring_;
  const double rate_;
  const uint64_t timeout_ns_;
  std::vector<Connection> connections_;
  std::vector<uint32_t> idle_;
  uint32_t next_address_;
  Tally tally_;
  uint64_t start_ns_ = 0;
  uint64_t now_ = 0;
  uint64_t swept_ns_ = 0;
  uint64_t paced_ = 0;
  uint64_t open_ = 0;
};

// Any certificate will do, and no session is resumed: each connection is a whole handshake.
Result<TlsContext> make_tls() {
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  if (!context) return fail(ENOMEM, "make a TLS context");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  return context;
}

Result<Tally> run_thread(const Options& options, const sockaddr_in& to, unsigned index,
                         unsigned threads) {
  if (!options.cpus.empty()) {
    if (auto pinned = pin_to(options.cpus[index]); !pinned) return tl::unexpected(pinned.error());
  }
  TlsContext tls;
  if (options.tls) {
    auto made = make_tls();
    if (!made) return tl::unexpected(made.error());
    tls = std::move(*made);
  }
  auto client = Client::create(options, to, tls.get(), index, threads);
  if (!client) return tl::unexpected(client.error());
  return (*client)->run();
}

Result<Tally> run_all(const Options& options) {
  auto to = parse_address(options.to);
  if (!to) return tl::unexpected(to.error());
  const auto threads = static_cast<unsigned>(std::max<size_t>(1, options.cpus.size()));
  std::vector<Result<Tally>> tallies(threads);
  std::vector<std::thread> running;
  for (unsigned i = 0; i < threads; i++)
    running.emplace_back([&, i] { tallies[i] = run_thread(options, *to, i, threads); });
  for (auto& thread : running) thread.join();
  Tally sum;
  for (auto& tally : tallies) {
    if (!tally) return tally;
    sum.opened += tally->opened;
    sum.answers += tally->answers;
    sum.refused += tally->refused;
    sum.reset += tally->reset;
    sum.wrong += tally->wrong;
    sum.timeouts += tally->timeouts;
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
  out["sent"] = tally.opened;
  out["answers"] = tally.answers;
  out["refused"] = tally.refused;
  out["reset"] = tally.reset;
  out["wrong"] = tally.wrong;
  out["timeouts"] = tally.timeouts;
  out["skipped"] = tally.skipped;
  out["lost"] = tally.refused + tally.reset + tally.wrong + tally.timeouts;
  out["rate"] = static_cast<double>(tally.answers) / options.seconds;
  out["busy"] = static_cast<double>(tally.busy_ns) / 1e9 / options.seconds / threads;
  std::puts(out.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Opens short connections and prints what came of it as JSON", "tcp_load"};
  app.add_option("--to", options.to, "IPv4 address and port")->required();
  app.add_flag("--tls", options.tls, "a TLS handshake on each");
  app.add_option("--concurrent", options.concurrent, "connections at a time, in all")
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "how long")->capture_default_str();
  app.add_option("--rate", options.rate, "connections a second; 0: as fast as they are answered")
      ->capture_default_str();
  app.add_option("--timeout-ms", options.timeout_ms, "one that takes longer is lost")
      ->capture_default_str();
  app.add_option("--cpus", options.cpus, "a thread on each of these; none: one thread, anywhere")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  allow_descriptors();
  auto tally = run_all(options);
  if (!tally) {
    std::fprintf(stderr, "tcp_load: %s\n", tally.error().message().c_str());
    return 1;
  }
  print(options, *tally);
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "tcp_load: %s\n", error.what());
  return 1;
}
