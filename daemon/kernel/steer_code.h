// SPDX-License-Identifier: MIT
// The steering program's instructions. libbpf reads and relocates them once for the process, which
// takes it milliseconds; a group's own copy is made of them by putting in the group's maps, and
// loaded by one system call.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/model/table.h"

struct bpf_insn;

namespace subset::kernel {

// The maps of bpf/steer.bpf.c, each by its descriptor there; -1: the group has no use for it.
struct SteerMaps {
  int stage = -1;
  int members = -1;
  int more_members = -1;
  int counts = -1;
  int rows = -1;
  int candidates = -1;
  int slot_counters = -1;
  int notices = -1;
  int open_connections = -1;
  int migrated_connections = -1;
  int constants = -1;
  int control = -1;
};

// What the verifier is told of the group.
struct SteerConstants {
  uint64_t group = 0;
  uint32_t seed = 0;
  uint32_t first_slots = 0;
  uint32_t slots = 0;
};

class SteerCode {
 public:
  // Loaded once, when it is first asked for, to the end of the process.
  static Result<const SteerCode*> get();

  // A map that nobody can write to any more, so that the verifier takes its values for constants.
  static Result<Fd> make_constants(const SteerConstants& constants, const Shape& shape);

  Result<Fd> load_steer(const SteerMaps& maps, const Shape& shape) const;
  Result<Fd> load_enter(int stage) const;

 private:
  // Where a program names a map: the first of two instructions.
  struct Reference {
    size_t at = 0;
    int SteerMaps::*map = nullptr;
  };
  struct Program {
    std::vector<bpf_insn> instructions;
    std::vector<Reference> references;
  };
  static Result<SteerCode> read();
  static Result<Fd> load(const Program& program, const char* name, const SteerMaps& maps,
                         bool of_domains);

  Program udp_;
  Program tcp_;
  Program least_;
  Program enter_;
};

}  // namespace subset::kernel
