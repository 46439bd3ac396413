// SPDX-License-Identifier: MIT
#include "daemon/kernel/watch.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "daemon/kernel/bpf_call.h"
#include "daemon/kernel/features.h"
#include "watch.skel.h"

namespace subset::kernel {
namespace {

using Skeleton = std::unique_ptr<watch_bpf, SkeletonDeleter<watch_bpf, watch_bpf__destroy>>;

struct LinkDeleter {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, LinkDeleter>;

struct RingDeleter {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

// The counters, shared memory with the kernel: reading one is a load.
class CounterPages {
 public:
  static Result<CounterPages> map(int map_fd) {
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (at == MAP_FAILED) return fail_errno("map the connection counters");
    return CounterPages(static_cast<uint64_t*>(at));
  }
  CounterPages() = default;
  CounterPages(CounterPages&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  CounterPages& operator=(CounterPages&& other) noexcept {
    std::swap(at_, other.at_);
    return *this;
  }
  ~CounterPages() {
    if (at_) munmap(at_, kBytes);
  }
  uint64_t get(uint32_t counter) const { return __atomic_load_n(at_ + counter, __ATOMIC_RELAXED); }

 private:
  explicit CounterPages(uint64_t* at) : at_(at) {}
  static constexpr size_t kBytes = SUBSET_COUNTERS * sizeof(uint64_t);
  uint64_t* at_ = nullptr;
};

std::array<bpf_map*, 5> pinned_maps(const watch_bpf& skeleton) {
  return {skeleton.maps.tags, skeleton.maps.connections, skeleton.maps.open_connections,
          skeleton.maps.migrated_connections, skeleton.maps.notices};
}

// Maps keep their content over a restart of the daemon: an existing pin is used instead of making
// a map, after libbpf has compared type and sizes.
Result<void> pin_maps(watch_bpf& skeleton, const std::string& dir) {
  for (bpf_map* map : pinned_maps(skeleton)) {
    const std::string path = dir + "/" + bpf_map__name(map);
    if (auto set = checked(bpf_map__set_pin_path(map, path.c_str()), "pin " + shown_pin(path));
        !set)
      return set;
  }
  return {};
}

// A program that counts connections is replaced by this daemon's, so that an upgrade takes effect;
// the new one is attached before the old one goes, and for that moment sees what the old one sees.
Result<Link> attach_counting(const bpf_program* program, const std::string& path) {
  Link link(bpf_program__attach(program));
  if (!link) return fail_errno("attach to inet_sock_set_state");
  if (unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_system(errno, "remove " + shown_pin(path));
  if (auto pinned = checked(bpf_link__pin(link.get(), path.c_str()), "pin " + shown_pin(path));
      !pinned)
    return fail(pinned.error(), "connection counting");
  return link;
}

// An iterator over the sockets that have an entry in `map`.
Result<Link> attach_to_sockets_in(const bpf_map* map, const bpf_program* program) {
  bpf_iter_link_info info{};
  info.map.map_fd = static_cast<__u32>(bpf_map__fd(map));
  LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info, .link_info_len = sizeof info);
  Link link(bpf_program__attach_iter(program, &options));
  if (!link) return fail_errno(std::string("attach ") + bpf_program__name(program));
  return link;
}

Result<Link> attach_to_descriptors(const bpf_program* program) {
  Link link(bpf_program__attach_iter(program, nullptr));
  if (!link) return fail_errno(std::string("attach ") + bpf_program__name(program));
  return link;
}

// A kernel that is locked down may refuse iterators over the values of maps.
void choose_iterator(watch_bpf& skeleton, bool direct) {
  bpf_program__set_autoload(skeleton.progs.sample_sockets, direct);
  bpf_program__set_autoload(skeleton.progs.sample_descriptors, !direct);
}

// Runs an iterator once and takes its records.
template <typename T>
Result<std::vector<T>> records_of(bpf_link* iterator) {
  Fd iteration(bpf_iter_create(bpf_link__fd(iterator)));
  if (!iteration) return fail_errno("iterate");
  std::vector<T> records;
  std::array<T, 64> chunk;
  size_t filled = 0;  // bytes of `chunk`: a read may end within a record
  for (;;) {
    auto* bytes = reinterpret_cast<char*>(chunk.data());
    const ssize_t got = read(iteration.get(), bytes + filled, sizeof chunk - filled);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return fail_errno("read an iterator");
    if (got == 0) break;
    filled += static_cast<size_t>(got);
    const size_t whole = filled / sizeof(T);
    records.insert(records.end(), chunk.begin(), chunk.begin() + whole);
    filled -= whole * sizeof(T);
    memmove(bytes, bytes + whole * sizeof(T), filled);
  }
  return records;
}

}  // namespace

struct Watch::Parts {
  Skeleton skeleton;
  std::vector<std::pair<std::string, Link>> counting;  // by the name of the pin
  Link sampler;
  Link finder;
  CounterPages counters;
  uint32_t last_taken = 0;  // of these: the search goes on from there
  std::unique_ptr<ring_buffer, RingDeleter> ring;
  const std::function<void(const subset_notice&)>* each = nullptr;  // during drain_notices
};

Watch::~Watch() = default;

Result<std::unique_ptr<Watch>> Watch::open(const Pins& pins) {
  auto parts = std::make_unique<Parts>();
  parts->skeleton.reset(watch_bpf__open());
  if (!parts->skeleton) return fail_errno("open the watching programs");
  watch_bpf& skeleton = *parts->skeleton;
  const bool direct = iterates_storage();
  choose_iterator(skeleton, direct);
  if (auto set = pin_maps(skeleton, pins.root()); !set) return fail(set.error(), "watch");
  if (auto loaded = checked(watch_bpf__load(&skeleton), "load the watching programs"); !loaded)
    return fail(loaded.error(), "watch");

  const auto& maps = skeleton.maps;
  const auto& programs = skeleton.progs;
  for (const bpf_program* program : {programs.count_connections, programs.count_interrupting}) {
    auto link = attach_counting(program, pins.root() + "/" + bpf_program__name(program));
    if (!link) return fail(link.error(), "watch");
    parts->counting.emplace_back(bpf_program__name(program), std::move(*link));
  }
  auto sampler = direct ? attach_to_sockets_in(maps.tags, programs.sample_sockets)
                        : attach_to_descriptors(programs.sample_descriptors);
  if (!sampler) return fail(sampler.error(), "watch");
  parts->sampler = std::move(*sampler);
  auto finder = attach_to_descriptors(programs.find_sockets);
  if (!finder) return fail(finder.error(), "watch");
  parts->finder = std::move(*finder);
  auto counters = CounterPages::map(bpf_map__fd(skeleton.maps.open_connections));
  if (!counters) return fail(counters.error(), "watch");
  parts->counters = std::move(*counters);

  auto on_notice = [](void* context, void* data, size_t size) {
    auto* self = static_cast<Parts*>(context);
    if (self->each && size >= sizeof(subset_notice))
      (*self->each)(*static_cast<const subset_notice*>(data));
    return 0;
  };
  parts->ring.reset(
      ring_buffer__new(bpf_map__fd(skeleton.maps.notices), on_notice, parts.get(), nullptr));
  if (!parts->ring) return fail_errno("open the ring of notices");
  std::unique_ptr<Watch> watch(new Watch);
  watch->parts_ = std::move(parts);
  return watch;
}

Result<size_t> Watch::keep_pins(const Pins& pins) const {
  std::vector<std::pair<std::string, int>> pinned;
  for (const bpf_map* map : pinned_maps(*parts_->skeleton))
    pinned.emplace_back(bpf_map__name(map), bpf_map__fd(map));
  for (const auto& [name, link] : parts_->counting)
    pinned.emplace_back(name, bpf_link__fd(link.get()));
  return Pins::keep_all(pins.root(), pinned);
}

int Watch::notices_fd() const {
  return bpf_map__fd(parts_->skeleton->maps.notices);
}
int Watch::open_connections_fd() const {
  return bpf_map__fd(parts_->skeleton->maps.open_connections);
}
int Watch::migrated_connections_fd() const {
  return bpf_map__fd(parts_->skeleton->maps.migrated_connections);
}

Result<void> Watch::tag(int socket, const subset_tag& tag) {
  const auto& maps = parts_->skeleton->maps;
  if (auto set = checked(bpf_map_update_elem(bpf_map__fd(maps.tags), &socket, &tag, BPF_ANY),
                         "tag the socket");
      !set)
    return set;
  if (tag.counter == 0) return {};
  const subset_connection connection{.counter = tag.counter, .counted = 0};
  return checked(bpf_map_update_elem(bpf_map__fd(maps.connections), &socket, &connection, BPF_ANY),
                 "tag the listener");
}

Result<void> Watch::untag(int socket) {
  const auto& maps = parts_->skeleton->maps;
  bpf_map_delete_elem(bpf_map__fd(maps.connections), &socket);
  return checked(bpf_map_delete_elem(bpf_map__fd(maps.tags), &socket), "untag the socket");
}

Result<subset_look> Watch::look_at(int socket) const {
  subset_look look{};
  look.descriptor = static_cast<uint32_t>(socket);
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &look, .ctx_size_in = sizeof look);
  const int program = bpf_program__fd(parts_->skeleton->progs.look_at_socket);
  if (auto run = checked(bpf_prog_test_run_opts(program, &options), "look at the socket"); !run)
    return tl::unexpected(run.error());
  return look;
}

Result<std::vector<subset_sample>> Watch::sample() const {
  auto samples = records_of<subset_sample>(parts_->sampler.get());
  if (!samples) return samples;
  auto before = [](const subset_sample& a, const subset_sample& b) { return a.cookie < b.cookie; };
  auto same = [](const subset_sample& a, const subset_sample& b) { return a.cookie == b.cookie; };
  std::sort(samples->begin(), samples->end(), before);
  samples->erase(std::unique(samples->begin(), samples->end(), same), samples->end());
  return samples;
}

Result<void> Watch::manage(const subset_managed& port) {
  const uint32_t one = 1;
  return checked(
      bpf_map_update_elem(bpf_map__fd(parts_->skeleton->maps.managed), &port, &one, BPF_ANY),
      "name a managed port");
}

void Watch::unmanage(const subset_managed& port) {
  bpf_map_delete_elem(bpf_map__fd(parts_->skeleton->maps.managed), &port);
}

Result<std::vector<subset_found>> Watch::find_on_managed_ports() const {
  return records_of<subset_found>(parts_->finder.get());
}

Result<uint32_t> Watch::take_counter(const std::vector<bool>& in_use) {
  for (uint32_t step = 0; step < SUBSET_COUNTERS - 1; step++) {
    const uint32_t counter = 1 + (parts_->last_taken + step) % (SUBSET_COUNTERS - 1);
    if ((counter >= in_use.size() || !in_use[counter]) && parts_->counters.get(counter) == 0)
      return parts_->last_taken = counter;
  }
  return fail(ENOSPC, "all counters of open connections are in use");
}

uint64_t Watch::open_connections(uint32_t counter) const {
  if (counter == 0 || counter >= SUBSET_COUNTERS) return 0;
  return parts_->counters.get(counter);
}

int Watch::notice_poll_fd() const {
  return ring_buffer__epoll_fd(parts_->ring.get());
}

void Watch::drain_notices(const std::function<void(const subset_notice&)>& each) {
  parts_->each = &each;
  ring_buffer__consume(parts_->ring.get());
  parts_->each = nullptr;
}

}  // namespace subset::kernel
