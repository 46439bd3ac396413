// SPDX-License-Identifier: MIT
#include "daemon/kernel/steer_code.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/layout.h"
#include "daemon/kernel/bpf_call.h"
#include "daemon/kernel/map_sizes.h"
#include "steer.skel.h"

namespace subset::kernel {
namespace {

using Skeleton = std::unique_ptr<steer_bpf, SkeletonDeleter<steer_bpf, steer_bpf__destroy>>;
using Constants = steer_bpf::steer_bpf__rodata;

constexpr uint32_t kLogBytes = 1 << 20;
constexpr int kAttempts = 100;      // the verifier gives up for a signal, which io_uring may mean
constexpr uint32_t kSlots = 64;     // of the group that libbpf loads the programs for:
constexpr uint32_t kBuckets = 256;  // any that the verifier believes in

// The table of CPUs comes last, so that a group with one domain goes without it.
constexpr size_t kWithoutCpus = offsetof(Constants, domain_of_cpu);
static_assert(sizeof(Constants) - kWithoutCpus - sizeof(Constants::domain_of_cpu) < 8);

// With the sizes of some group, of the kind that uses all maps.
Result<Skeleton> load_by_libbpf() {
  Skeleton opened(steer_bpf__open());
  if (!opened) return fail_errno("open the steering program");
  Constants& constants = *opened->rodata;
  constants.domains = 1;
  constants.row_capacity = kBuckets;
  constants.first_slots = kSlots;
  constants.slots = kSlots;
  const auto& maps = opened->maps;
  bpf_map__set_value_size(maps.rows, row_bytes(kBuckets));
  bpf_map__set_value_size(maps.candidates, candidates_bytes(kSlots));
  bpf_map__set_value_size(maps.counts, counts_bytes(kSlots));
  if (auto loaded = checked(steer_bpf__load(opened.get()), "load the steering program"); !loaded)
    return fail(loaded.error(), "steering");
  return opened;
}

bool names_map(const bpf_insn& instruction) {
  return instruction.code == (BPF_LD | BPF_IMM | BPF_DW) &&
         (instruction.src_reg == BPF_PSEUDO_MAP_FD || instruction.src_reg == BPF_PSEUDO_MAP_VALUE);
}

// The kernel's own words, for what its verifier does not believe. The last line but one: the very
// last one is about how much work it was.
std::string last_words(const std::string& log) {
  const size_t summary = log.rfind("\nprocessed ");
  const std::string text = log.substr(0, summary);
  const size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

}  // namespace

Result<SteerCode> SteerCode::read() {
  auto loaded = load_by_libbpf();
  if (!loaded) return tl::unexpected(loaded.error());
  const auto& maps = (*loaded)->maps;
  const std::pair<const bpf_map*, int SteerMaps::*> known[] = {
      {maps.stage, &SteerMaps::stage},
      {maps.members, &SteerMaps::members},
      {maps.more_members, &SteerMaps::more_members},
      {maps.counts, &SteerMaps::counts},
      {maps.rows, &SteerMaps::rows},
      {maps.candidates, &SteerMaps::candidates},
      {maps.slot_counters, &SteerMaps::slot_counters},
      {maps.notices, &SteerMaps::notices},
      {maps.open_connections, &SteerMaps::open_connections},
      {maps.migrated_connections, &SteerMaps::migrated_connections},
      {maps.rodata, &SteerMaps::constants},
      {maps.bss, &SteerMaps::control},
  };
  SteerCode code;
  const auto& progs = (*loaded)->progs;
  const std::pair<const bpf_program*, Program*> programs[] = {{progs.steer_udp, &code.udp_},
                                                              {progs.steer_tcp, &code.tcp_},
                                                              {progs.steer_least, &code.least_},
                                                              {progs.enter, &code.enter_}};
  for (const auto& [program, read] : programs) {
    const bpf_insn* first = bpf_program__insns(program);
    read->instructions.assign(first, first + bpf_program__insn_cnt(program));
    for (size_t at = 0; at < read->instructions.size(); at++) {
      const bpf_insn& instruction = read->instructions[at];
      if (!names_map(instruction)) continue;
      const auto* named = std::ranges::find_if(
          known, [&](const auto& map) { return bpf_map__fd(map.first) == instruction.imm; });
      if (named == std::end(known)) return fail(EPROTO, "the steering program has another map");
      read->references.push_back({at, named->second});
    }
  }
  return code;
}

Result<const SteerCode*> SteerCode::get() {
  static std::unique_ptr<const SteerCode> code;
  if (!code) {
    auto read = SteerCode::read();
    if (!read) return tl::unexpected(read.error());
    code = std::make_unique<const SteerCode>(std::move(*read));
  }
  return code.get();
}

Result<Fd> SteerCode::make_constants(const SteerConstants& constants, const Shape& shape) {
  Constants all{};
  all.group = constants.group;
  all.mode = static_cast<uint32_t>(shape.mode);
  all.domains = shape.domains;
  all.row_capacity = shape.row_capacity;
  all.first_slots = constants.first_slots;
  all.slots = constants.slots;
  all.seed = constants.seed;
  all.refuse_vacant = shape.refuse_vacant;
  const size_t cpus = std::min<size_t>(shape.domain_of_cpu.size(), SUBSET_CPUS);
  std::copy_n(shape.domain_of_cpu.begin(), cpus, all.domain_of_cpu);
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_RDONLY_PROG);
  const size_t size = cpus == 0 ? kWithoutCpus : sizeof all;
  auto map = checked_fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "constants", sizeof(uint32_t),
                                       static_cast<uint32_t>(size), 1, &options),
                        "make the map constants");
  if (!map) return map;
  const uint32_t zero = 0;
  if (auto set = checked(bpf_map_update_elem(map->get(), &zero, &all, BPF_ANY), "set constants");
      !set)
    return tl::unexpected(set.error());
  if (auto frozen = checked(bpf_map_freeze(map->get()), "freeze the constants"); !frozen)
    return tl::unexpected(frozen.error());
  return map;
}

// A map that the group has no use for is named by branches alone that the verifier finds to be
// dead; still there has to be a map, and any will do. So the instructions are the same for all
// groups, and with them the program's tag.
Result<Fd> SteerCode::load(const Program& program, const char* name, const SteerMaps& maps,
                           bool of_domains) {
  std::vector<bpf_insn> own = program.instructions;
  for (const auto& [at, map] : program.references) {
    own[at].imm = maps.*map >= 0 ? maps.*map : maps.control;
    const bool of_cpus = map == &SteerMaps::constants && own[at + 1].imm >= int{kWithoutCpus};
    if (of_cpus && !of_domains) own[at + 1].imm = 0;
  }
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE;
  options.attempts = kAttempts;
  const auto try_once = [&] {
    return bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, name, "GPL", own.data(), own.size(), &options);
  };
  const int loaded = try_once();
  if (loaded >= 0) return Fd(loaded);
  std::string heard;
  if (loaded == -EACCES || loaded == -EINVAL) {  // the verifier: once more, to hear why
    std::string log(kLogBytes, '\0');
    options.log_level = 1;
    options.log_buf = log.data();
    options.log_size = kLogBytes;
    // Older kernels mind a log that is full more than what they refused at first.
    if (const int again = try_once(); again >= 0) return Fd(again);
    log.resize(strnlen(log.data(), log.size()));
    heard = " (" + last_words(log) + ")";
  }
  return fail_system(-loaded, std::string("load the program ") + name + heard);
}

Result<Fd> SteerCode::load_steer(const SteerMaps& maps, const Shape& shape) const {
  const Program& tcp = shape.mode == Mode::Least ? least_ : tcp_;
  return load(shape.protocol == Protocol::Udp ? udp_ : tcp, "steer", maps,
              !shape.domain_of_cpu.empty());
}

Result<Fd> SteerCode::load_enter(int stage) const {
  SteerMaps maps;
  maps.stage = stage;
  return load(enter_, "enter", maps, false);
}

}  // namespace subset::kernel
