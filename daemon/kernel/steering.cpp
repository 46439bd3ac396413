// SPDX-License-Identifier: MIT
#include "daemon/kernel/steering.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/select.h"
#include "daemon/kernel/bpf_call.h"
#include "daemon/kernel/map_sizes.h"
#include "daemon/kernel/steer_code.h"

namespace subset::kernel {
namespace {

constexpr uint32_t kMaxSlots = 16384;

static_assert(SUBSET_HASH == static_cast<uint32_t>(Mode::Hash) &&
              SUBSET_SOURCE == static_cast<uint32_t>(Mode::Source) &&
              SUBSET_RANDOM == static_cast<uint32_t>(Mode::Random) &&
              SUBSET_CPU == static_cast<uint32_t>(Mode::Cpu) &&
              SUBSET_NUMA == static_cast<uint32_t>(Mode::Numa) &&
              SUBSET_LEAST == static_cast<uint32_t>(Mode::Least));

static_assert(SUBSET_COUNTERS - 1 <= UINT16_MAX, "a candidate names its counter in 16 bits");

uint32_t power_of_two(uint64_t at_least) {
  uint32_t size = 1;
  while (size < at_least && size < kMaxSlots) size *= 2;
  return size;
}

uint32_t record_bytes(uint32_t slots) {
  return static_cast<uint32_t>(sizeof(RecordHead) + slots * sizeof(RecordSeat));
}

uint32_t cpu_count() {
  static const int count = libbpf_num_possible_cpus();
  return count > 0 ? static_cast<uint32_t>(count) : 1;
}

Result<Fd> make_map(bpf_map_type type, const char* name, uint32_t value_size, uint32_t entries) {
  return checked_fd(bpf_map_create(type, name, sizeof(uint32_t), value_size, entries, nullptr),
                    std::string("make the map ") + name);
}

Result<bpf_map_info> info_of(int map_fd) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (auto got = checked(bpf_obj_get_info_by_fd(map_fd, &info, &size), "look at a map"); !got)
    return fail(got.error(), "steering");
  return info;
}

uint32_t program_id(int program_fd) {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  return bpf_obj_get_info_by_fd(program_fd, &info, &size) == 0 ? info.id : 0;
}

// The serial is random, and no client can see it. Every program of the group hashes alike, also the
// next daemon's: a client of source mode stays where it is.
uint32_t seed_of(uint64_t serial) {
  return subset_mix(static_cast<uint32_t>(serial) ^ static_cast<uint32_t>(serial >> 32));
}

// Names of what belongs to one version of the program.
std::string versioned(const std::string& dir, const char* what, uint32_t version) {
  return dir + "/" + what + "-" + std::to_string(version);
}

// A program with the maps that are its own.
struct Version {
  Fd program;     // empty after adopt, until the first publish, and so is
  Fd candidates;  // this one
  Fd rows;
  Fd control;
};

}  // namespace

struct Steering::Parts {
  const Watch* watch = nullptr;
  std::string dir;
  uint64_t serial = 0;

  // What outlives a program.
  Fd stage;
  uint32_t stage_id = 0;
  Fd members;
  Fd more_members;  // of a group that outgrew `members`
  Fd slot_counters;
  Fd record;
  std::vector<uint64_t> recorded;  // what this daemon wrote there last
  Fd enter;                        // of an adopted group: loaded when it is first attached
  std::vector<Fd> counts;          // the last one is counted into
  std::vector<uint32_t> counters;  // what is in slot_counters: a lookup of each is a system call
  uint32_t first_slots = 0;
  uint32_t slots = 0;

  // What belongs to the program in force.
  uint32_t version = 0;
  Version in_force;
  uint32_t row_capacity = 0;
  uint32_t domains = 1;
  Shape shape;

  Result<void> make_maps(const Shape& shape);
  Result<void> name_stage();
  Result<void> grow(const Shape& shape);
  Result<void> add_slot_maps(uint32_t new_slots);
  void unpin_outgrown() const;
  Result<void> find_slot_maps();
  Result<void> find_program();
  Result<void> open_version();
  Result<Version> make_version(const Shape& wanted) const;
  Result<Fd> load(const Version& made, const Shape& wanted) const;
  Result<void> load_enter();
  Result<void> reload(const Shape& wanted, const Table& table);
  Result<void> pin_version(const Version& made, uint32_t number) const;
  void unpin_version(uint32_t number) const;
  Result<void> fill(const Version& made, uint32_t copy, const Shape& shape,
                    const Table& table) const;
  uint32_t counter_of(Slot slot) const { return slot < counters.size() ? counters[slot] : 0; }
  subset_control read_control() const;
  Result<void> write_control(const subset_control& wanted) const;
  uint32_t active_copy() const { return read_control().active & 1; }
  std::pair<int, uint32_t> place(Slot slot) const;
};

// --- making -------------------------------------------------------------------------------------

Result<void> Steering::Parts::add_slot_maps(uint32_t new_slots) {
  const std::string number = std::to_string(counts.size());
  auto count = make_map(BPF_MAP_TYPE_ARRAY, "counts", counts_bytes(new_slots), cpu_count());
  if (!count) return fail(count.error(), "steering");
  auto counter = make_map(BPF_MAP_TYPE_ARRAY, "slot_counters", sizeof(uint32_t), new_slots);
  if (!counter) return fail(counter.error(), "steering");
  auto record_map = make_map(BPF_MAP_TYPE_ARRAY, "record", record_bytes(new_slots), 1);
  if (!record_map) return fail(record_map.error(), "steering");
  for (uint32_t slot = 0; slot < slots; slot++)
    bpf_map_update_elem(counter->get(), &slot, &counters[slot], BPF_ANY);
  if (record) {
    std::vector<uint64_t> kept(record_bytes(new_slots) / 8);
    const uint32_t zero = 0;
    bpf_map_lookup_elem(record.get(), &zero, kept.data());
    bpf_map_update_elem(record_map->get(), &zero, kept.data(), BPF_ANY);
  }
  // Filled before they can be found, and the record last: who is killed in between leaves parts
  // that the next daemon takes for what they are.
  if (auto done = Pins::pin(count->get(), dir + "/counts-" + number); !done) return done;
  if (auto done = Pins::pin(counter->get(), dir + "/slot_counters-" + number); !done) return done;
  if (auto done = Pins::pin(record_map->get(), dir + "/record-" + number); !done) return done;
  counts.push_back(std::move(*count));
  slot_counters = std::move(*counter);
  record = std::move(*record_map);
  slots = new_slots;
  counters.resize(slots);
  return {};
}

Result<void> Steering::Parts::name_stage() {
  auto info = info_of(stage.get());
  if (!info) return fail(info.error(), "stage");
  stage_id = info->id;
  return {};
}

Result<void> Steering::Parts::make_maps(const Shape& wanted) {
  first_slots = power_of_two(std::max<uint64_t>(64, wanted.slots));
  auto array = make_map(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "members", sizeof(uint64_t), first_slots);
  if (!array) return fail(array.error(), "steering");
  members = std::move(*array);
  auto programs = make_map(BPF_MAP_TYPE_PROG_ARRAY, "stage", sizeof(uint32_t), 1);
  if (!programs) return fail(programs.error(), "steering");
  stage = std::move(*programs);
  if (auto named = name_stage(); !named) return named;
  if (auto done = Pins::pin(members.get(), dir + "/members"); !done) return done;
  if (auto done = Pins::pin(stage.get(), dir + "/stage"); !done) return done;
  return add_slot_maps(first_slots);
}

// Once the second record is there, nobody reads the first one's maps again.
void Steering::Parts::unpin_outgrown() const {
  for (const char* name : {"slot_counters-0", "record-0"}) unlink((dir + "/" + name).c_str());
}

// A second array, once, with much room. The counters of the first map stay where they are and are
// added to the new ones': copying them would lose what is counted meanwhile.
Result<void> Steering::Parts::grow(const Shape& wanted) {
  const uint32_t wanted_slots = power_of_two(uint64_t{wanted.slots} * 8);
  if (more_members || wanted_slots <= first_slots)
    return fail(ENOSPC, "the group has all the members that it can hold, " + std::to_string(slots));
  auto array = make_map(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "more_members", sizeof(uint64_t),
                        wanted_slots - first_slots);
  if (!array) return fail(array.error(), "grow");
  if (auto done = Pins::pin(array->get(), dir + "/more_members"); !done) return done;
  more_members = std::move(*array);
  if (auto done = add_slot_maps(wanted_slots); !done) return done;
  unpin_outgrown();
  return {};
}

Result<std::unique_ptr<Steering>> Steering::create(const Pins& pins, const Watch& watch,
                                                   uint64_t serial, const Shape& shape) {
  std::unique_ptr<Steering> steering(new Steering);
  steering->parts_ = std::make_unique<Parts>();
  Parts& parts = *steering->parts_;
  parts.watch = &watch;
  parts.serial = serial;
  parts.dir = pins.group_dir(serial);
  auto made = Pins::make_dir(parts.dir);
  if (made) made = parts.make_maps(shape);
  if (made) made = parts.reload(shape, Table{});
  // Not at the first attach: from the socket's tag to the record there should be no long way.
  if (made) made = parts.load_enter();
  if (!made) {
    (void)Pins::remove_dir(parts.dir);
    return fail(made.error(), "make a group");
  }
  return steering;
}

// --- adopting -----------------------------------------------------------------------------------

// Which of the pinned versions is in force: the one whose program is in the stage. A daemon that
// was killed between pinning and publishing leaves a newer one behind, one that was killed between
// publishing and unpinning an older one.
Result<void> Steering::Parts::find_program() {
  uint32_t zero = 0;
  uint32_t staged = 0;
  if (auto got = checked(bpf_map_lookup_elem(stage.get(), &zero, &staged), "read the stage"); !got)
    return got;
  constexpr std::string_view kPrefix = "steer-";
  for (const auto& name : Pins::names(dir)) {
    if (name.rfind(kPrefix, 0) != 0) continue;
    const uint32_t number = static_cast<uint32_t>(atoi(name.c_str() + kPrefix.size()));
    auto program = Pins::get(dir + "/" + name);
    if (!program) return fail(program.error(), "adopt");
    if (program_id(program->get()) == staged)
      version = number;
    else
      unpin_version(number);
  }
  if (version == 0) return fail(ENOENT, "no program is in force");
  return open_version();
}

Result<void> Steering::Parts::open_version() {
  auto found_rows = Pins::get(versioned(dir, "rows", version));
  if (!found_rows) return fail(found_rows.error(), "adopt");
  auto found_control = Pins::get(versioned(dir, "control", version));
  if (!found_control) return fail(found_control.error(), "adopt");
  in_force.rows = std::move(*found_rows);
  in_force.control = std::move(*found_control);
  auto info = info_of(in_force.rows.get());
  if (!info) return fail(info.error(), "adopt");
  domains = std::max(1u, info->max_entries / 2);
  row_capacity = (info->value_size - static_cast<uint32_t>(sizeof(subset_row))) / 2;
  return {};
}

// A group has grown when its second record is there: that is pinned last. A daemon that was killed
// before it left parts that hold nothing, one that was killed after it the outgrown ones.
Result<void> Steering::Parts::find_slot_maps() {
  const bool grown = access((dir + "/record-1").c_str(), F_OK) == 0;
  const std::string suffix = grown ? "-1" : "-0";
  if (grown) unpin_outgrown();
  for (uint32_t number = 0; number <= (grown ? 1u : 0u); number++) {
    auto count = Pins::get(dir + "/counts-" + std::to_string(number));
    if (!count) return tl::unexpected(count.error());
    counts.push_back(std::move(*count));
  }
  struct {
    std::string name;
    Fd* fd;
  } const latest[] = {{"slot_counters" + suffix, &slot_counters}, {"record" + suffix, &record}};
  for (const auto& [name, fd] : latest) {
    auto found = Pins::get(dir + "/" + name);
    if (!found) return tl::unexpected(found.error());
    *fd = std::move(*found);
  }
  if (!grown) {
    for (const char* name : {"more_members", "counts-1", "slot_counters-1"})
      unlink((dir + "/" + name).c_str());
    return {};
  }
  auto more = Pins::get(dir + "/more_members");
  if (!more) return tl::unexpected(more.error());
  more_members = std::move(*more);
  return {};
}

Result<std::unique_ptr<Steering>> Steering::adopt(const Pins& pins, const Watch& watch,
                                                  uint64_t serial) {
  std::unique_ptr<Steering> steering(new Steering);
  steering->parts_ = std::make_unique<Parts>();
  Parts& parts = *steering->parts_;
  parts.watch = &watch;
  parts.serial = serial;
  parts.dir = pins.group_dir(serial);
  struct {
    const char* name;
    Fd* fd;
  } const kept[] = {{"members", &parts.members}, {"stage", &parts.stage}};
  for (const auto& [name, fd] : kept) {
    auto found = Pins::get(parts.dir + "/" + name);
    if (!found) return fail(found.error(), "adopt");
    *fd = std::move(*found);
  }
  if (auto named = parts.name_stage(); !named) return fail(named.error(), "adopt");
  if (auto found = parts.find_slot_maps(); !found) return fail(found.error(), "adopt");
  auto first = info_of(parts.members.get());
  auto all = info_of(parts.slot_counters.get());
  if (!first) return fail(first.error(), "adopt");
  if (!all) return fail(all.error(), "adopt");
  parts.first_slots = first->max_entries;
  parts.slots = all->max_entries;
  parts.counters.resize(parts.slots);
  for (uint32_t slot = 0; slot < parts.slots; slot++)
    bpf_map_lookup_elem(parts.slot_counters.get(), &slot, &parts.counters[slot]);
  if (auto found = parts.find_program(); !found)
    return fail(found.error(), "adopt " + shown_pin(parts.dir));
  return steering;
}

// --- the program --------------------------------------------------------------------------------

Result<Fd> Steering::Parts::load(const Version& made, const Shape& wanted) const {
  auto code = SteerCode::get();
  if (!code) return tl::unexpected(code.error());
  const SteerConstants of_group{
      .group = serial, .seed = seed_of(serial), .first_slots = first_slots, .slots = slots};
  auto constants = SteerCode::make_constants(of_group, wanted);
  if (!constants) return constants;
  SteerMaps maps{.stage = stage.get(),
                 .members = members.get(),
                 .more_members = more_members.get(),
                 .counts = counts.back().get(),
                 .rows = made.rows.get(),
                 .candidates = made.candidates.get(),
                 .notices = watch->notices_fd(),
                 .constants = constants->get(),
                 .control = made.control.get()};
  if (wanted.protocol == Protocol::Tcp) {
    maps.slot_counters = slot_counters.get();
    maps.open_connections = watch->open_connections_fd();
    maps.migrated_connections = watch->migrated_connections_fd();
  }
  return (*code)->load_steer(maps, wanted);
}

Result<Version> Steering::Parts::make_version(const Shape& wanted) const {
  Version made;
  const struct {
    const char* name;
    uint32_t bytes;
    uint32_t entries;
    Fd* fd;
  } maps[] = {{"rows", row_bytes(wanted.row_capacity), 2 * wanted.domains, &made.rows},
              {"candidates", candidates_bytes(slots), 2, &made.candidates},
              {"control", sizeof(subset_control), 1, &made.control}};
  for (const auto& [name, bytes, entries, fd] : maps) {
    auto map = make_map(BPF_MAP_TYPE_ARRAY, name, bytes, entries);
    if (!map) return tl::unexpected(map.error());
    *fd = std::move(*map);
  }
  auto program = load(made, wanted);
  if (!program) return tl::unexpected(program.error());
  made.program = std::move(*program);
  return made;
}

Result<void> Steering::Parts::fill(const Version& made, uint32_t copy, const Shape& wanted,
                                   const Table& table) const {
  std::vector<uint64_t> buffer(row_bytes(wanted.row_capacity) / 8);
  for (uint32_t domain = 0; domain < wanted.domains; domain++) {
    auto* row = reinterpret_cast<subset_row*>(buffer.data());
    const bool planned = domain < table.rows.size();
    const size_t buckets =
        planned ? std::min<size_t>(table.rows[domain].size(), wanted.row_capacity) : 0;
    row->buckets = static_cast<uint32_t>(buckets);
    if (planned) std::copy_n(table.rows[domain].begin(), buckets, row->slot);
    if (buckets == 0 && wanted.row_capacity > 0) {  // nobody: the scaled hash is 0
      row->slot[0] = SUBSET_NO_SLOT;
    }
    const uint32_t index = copy * wanted.domains + domain;
    if (auto set =
            checked(bpf_map_update_elem(made.rows.get(), &index, row, BPF_ANY), "write a row");
        !set)
      return set;
  }
  buffer.assign(candidates_bytes(slots) / 8, 0);
  auto* all = reinterpret_cast<subset_candidates*>(buffer.data());
  all->count = static_cast<uint32_t>(std::min<size_t>(table.candidates.size(), slots));
  const uint32_t listed = all->count == 0 ? 0 : all->count + SUBSET_TRIES;
  for (uint32_t i = 0; i < listed; i++) {
    const Candidate& candidate = table.candidates[i % all->count];
    all->member[i] = {.cost = subset_cost(candidate.weight),
                      .counter = static_cast<uint16_t>(counter_of(candidate.slot)),
                      .slot = candidate.slot};
  }
  return checked(bpf_map_update_elem(made.candidates.get(), &copy, all, BPF_ANY),
                 "write the candidates");
}

Result<void> Steering::Parts::pin_version(const Version& made, uint32_t number) const {
  const std::pair<const char*, int> pinned[] = {
      {"rows", made.rows.get()},
      {"control", made.control.get()},
      {"steer", made.program.get()},
  };
  for (const auto& [what, fd] : pinned) {
    if (auto done = Pins::pin(fd, versioned(dir, what, number)); !done) return done;
  }
  return {};
}

void Steering::Parts::unpin_version(uint32_t number) const {
  for (const char* what : {"rows", "control", "steer"})
    unlink(versioned(dir, what, number).c_str());
}

// Everything is made and filled beside the program in force; the store into the stage is the one
// moment when packets see it. Pinned before it is published: at no moment is steering in force that
// a restarted daemon could not find.
Result<void> Steering::Parts::reload(const Shape& wanted, const Table& table) {
  if (wanted.slots > slots) {
    if (auto grown = grow(wanted); !grown) return grown;
  }
  auto made = make_version(wanted);
  if (!made) return fail(made.error(), "specialise");
  if (auto filled = fill(*made, 0, wanted, table); !filled) return filled;
  const uint32_t next = version + 1;
  unpin_version(next);
  if (auto pinned = pin_version(*made, next); !pinned) {
    unpin_version(next);
    return pinned;
  }
  const uint32_t zero = 0;
  const int program = made->program.get();
  if (auto set = checked(bpf_map_update_elem(stage.get(), &zero, &program, BPF_ANY),
                         "publish the program");
      !set) {
    unpin_version(next);
    return set;
  }
  if (version != 0) unpin_version(version);
  version = next;
  in_force = std::move(*made);
  shape = wanted;
  shape.slots = slots;
  row_capacity = wanted.row_capacity;
  domains = wanted.domains;
  return {};
}

// --- public -------------------------------------------------------------------------------------

Steering::~Steering() = default;

subset_control Steering::Parts::read_control() const {
  const uint32_t zero = 0;
  subset_control found{};
  bpf_map_lookup_elem(in_force.control.get(), &zero, &found);
  return found;
}

// A packet that meets an empty slot meanwhile may set `told` for nothing: then it tells once more.
Result<void> Steering::Parts::write_control(const subset_control& wanted) const {
  const uint32_t zero = 0;
  return checked(bpf_map_update_elem(in_force.control.get(), &zero, &wanted, BPF_ANY),
                 "write the control block");
}

std::pair<int, uint32_t> Steering::Parts::place(Slot slot) const {
  if (slot < first_slots) return {members.get(), slot};
  return {more_members.get(), slot - first_slots};
}

Result<void> Steering::Parts::load_enter() {
  if (enter) return {};
  auto code = SteerCode::get();
  if (!code) return tl::unexpected(code.error());
  auto loaded = (*code)->load_enter(stage.get());
  if (!loaded) return tl::unexpected(loaded.error());
  enter = std::move(*loaded);
  return {};
}

Result<void> Steering::attach(int socket) {
  if (auto loaded = parts_->load_enter(); !loaded) return loaded;
  const int program = parts_->enter.get();
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof program) != 0)
    return fail_errno("attach the steering program to the socket");
  return {};
}

uint32_t Steering::stage() const {
  return parts_->stage_id;
}

Result<void> Steering::insert(Slot slot, int socket) {
  const auto [map, index] = parts_->place(slot);
  const uint64_t value = static_cast<uint64_t>(socket);
  return checked(bpf_map_update_elem(map, &index, &value, BPF_ANY),
                 "put the socket into slot " + std::to_string(slot));
}

Result<void> Steering::remove(Slot slot) {
  const auto [map, index] = parts_->place(slot);
  const int done = bpf_map_delete_elem(map, &index);
  if (done == -ENOENT) return {};
  return checked(done, "empty slot " + std::to_string(slot));
}

Cookie Steering::occupant(Slot slot) const {
  const auto [map, index] = parts_->place(slot);
  uint64_t cookie = 0;
  return bpf_map_lookup_elem(map, &index, &cookie) == 0 ? cookie : 0;
}

Result<void> Steering::set_counter(Slot slot, uint32_t counter) {
  const uint32_t index = slot;
  if (slot < parts_->slots && parts_->counters[slot] == counter) return {};
  auto set = checked(bpf_map_update_elem(parts_->slot_counters.get(), &index, &counter, BPF_ANY),
                     "name the connection counter");
  if (set) parts_->counters[slot] = counter;
  return set;
}

uint32_t Steering::counter(Slot slot) const {
  return parts_->counter_of(slot);
}

Result<void> Steering::publish(const Shape& shape, const Table& table) {
  Parts& parts = *parts_;
  Shape wanted = shape;
  wanted.slots = std::max(shape.slots, parts.slots);  // room that is there is no reason to reload
  if (!parts.in_force.program || wanted != parts.shape) return parts.reload(wanted, table);
  subset_control control = parts.read_control();
  const uint32_t idle = 1 - (control.active & 1);
  if (auto filled = parts.fill(parts.in_force, idle, wanted, table); !filled) return filled;
  control.active = idle;
  return parts.write_control(control);
}

std::vector<std::vector<Slot>> Steering::rows() const {
  const Parts& parts = *parts_;
  const int fd = parts.in_force.rows.get();
  const uint32_t copy = parts.active_copy();
  std::vector<uint64_t> buffer(row_bytes(parts.row_capacity) / 8 + 1);
  std::vector<std::vector<Slot>> rows(parts.domains);
  for (uint32_t domain = 0; domain < parts.domains; domain++) {
    const uint32_t index = copy * parts.domains + domain;
    if (bpf_map_lookup_elem(fd, &index, buffer.data()) != 0) continue;
    const auto* row = reinterpret_cast<const subset_row*>(buffer.data());
    rows[domain].assign(row->slot, row->slot + std::min(row->buckets, parts.row_capacity));
  }
  return rows;
}

Result<GroupCounts> Steering::counts() const {
  const Parts& parts = *parts_;
  GroupCounts sum;
  sum.slots.resize(parts.slots);
  for (size_t i = 0; i < parts.counts.size(); i++) {
    const Fd& map = parts.counts[i];
    const uint32_t slots = i == 0 ? parts.first_slots : parts.slots;
    std::vector<uint64_t> buffer(counts_bytes(slots) / 8);
    for (uint32_t cpu = 0; cpu < cpu_count(); cpu++) {
      if (auto got =
              checked(bpf_map_lookup_elem(map.get(), &cpu, buffer.data()), "read the counts");
          !got)
        return fail(got.error(), "group");
      const auto* counted = reinterpret_cast<const subset_cpu_count*>(buffer.data());
      sum.kernel += counted->kernel;
      sum.refused += counted->refused;
      for (size_t slot = 0; slot < std::min<size_t>(slots, sum.slots.size()); slot++) {
        sum.slots[slot].home += counted->slot[slot].home;
        sum.slots[slot].alternative += counted->slot[slot].alternative;
        sum.slots[slot].migrated += counted->slot[slot].migrated;
      }
    }
  }
  return sum;
}

void Steering::rearm_notice() {
  subset_control control = parts_->read_control();
  if (control.told == 0) return;
  control.told = 0;
  (void)parts_->write_control(control);  // the next sweep tries again
}

Result<void> Steering::write_record(const Record& record) {
  std::vector<uint64_t> buffer(record_bytes(parts_->slots) / 8);
  auto* bytes = reinterpret_cast<char*>(buffer.data());
  RecordHead head = record.head;
  const size_t seats = std::min<size_t>(record.seats.size(), parts_->slots);
  head.seat_count = static_cast<uint32_t>(seats);
  memcpy(bytes, &head, sizeof head);
  memcpy(bytes + sizeof head, record.seats.data(), seats * sizeof(RecordSeat));
  if (buffer == parts_->recorded) return {};
  const uint32_t zero = 0;
  auto written = checked(bpf_map_update_elem(parts_->record.get(), &zero, bytes, BPF_ANY),
                         "write the group's record");
  if (written) parts_->recorded = std::move(buffer);
  return written;
}

Result<Record> Steering::read_record() const {
  auto info = info_of(parts_->record.get());
  if (!info) return fail(info.error(), "read the group's record");
  std::vector<uint64_t> buffer(info->value_size / 8 + 1);
  const uint32_t zero = 0;
  if (auto got = checked(bpf_map_lookup_elem(parts_->record.get(), &zero, buffer.data()),
                         "read the group's record");
      !got)
    return fail(got.error(), "group");
  Record record;
  const auto* bytes = reinterpret_cast<const char*>(buffer.data());
  memcpy(&record.head, bytes, sizeof record.head);
  const size_t room = (info->value_size - sizeof(RecordHead)) / sizeof(RecordSeat);
  record.seats.resize(std::min<size_t>(record.head.seat_count, room));
  memcpy(record.seats.data(), bytes + sizeof record.head, record.seats.size() * sizeof(RecordSeat));
  return record;
}

// In the order in which a daemon that makes the group pins them: the record last, and nothing that
// a daemon which finds half of it would take for more.
Result<size_t> Steering::keep_pins() const {
  const Parts& parts = *parts_;
  if (!parts.in_force.program) return 0;  // as it was found: it was complete, and will be replaced
  const std::string latest = "-" + std::to_string(parts.counts.size() - 1);
  std::vector<std::pair<std::string, int>> pinned{{"members", parts.members.get()},
                                                  {"stage", parts.stage.get()}};
  if (parts.more_members) pinned.emplace_back("more_members", parts.more_members.get());
  for (size_t i = 0; i < parts.counts.size(); i++)
    pinned.emplace_back("counts-" + std::to_string(i), parts.counts[i].get());
  const std::string version = "-" + std::to_string(parts.version);
  pinned.emplace_back("rows" + version, parts.in_force.rows.get());
  pinned.emplace_back("control" + version, parts.in_force.control.get());
  pinned.emplace_back("steer" + version, parts.in_force.program.get());
  pinned.emplace_back("slot_counters" + latest, parts.slot_counters.get());
  pinned.emplace_back("record" + latest, parts.record.get());
  if (auto made = Pins::make_dir(parts.dir); !made) return tl::unexpected(made.error());
  return Pins::keep_all(parts.dir, pinned);
}

Result<void> Steering::release() {
  const uint32_t zero = 0;
  return checked(bpf_map_delete_elem(parts_->stage.get(), &zero), "empty the stage");
}

Result<void> Steering::unpin() {
  return Pins::remove_dir(parts_->dir);
}

uint32_t Steering::capacity() const {
  return parts_->slots;
}

}  // namespace subset::kernel
