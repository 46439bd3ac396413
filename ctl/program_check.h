// SPDX-License-Identifier: MIT
// Would LD_PRELOAD reach this program? Where it would not, the server runs as if `subset` were not
// there, and nothing says so: hence the look before starting.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace subset::ctl {

enum class Reach : uint8_t { Ok, Warn, Refuse };

struct Verdict {
  Reach reach = Reach::Ok;
  std::string why;  // for Warn and Refuse: one sentence, without the program's name
};

// --- pure ------------------------------------------------------------------------------------

using Bytes = std::span<const std::byte>;

struct ElfFacts {
  bool native = false;      // of this machine's word size, byte order and instruction set
  std::string interpreter;  // PT_INTERP; empty: none, so no dynamic linker that could preload
  bool needs_libraries = false;
  bool go = false;
};

// nullopt: not an ELF file, or one too damaged to say.
std::optional<ElfFacts> read_elf(Bytes file);
Verdict judge(const ElfFacts& facts);

// "#!": the interpreter and its argument; nullopt: not a script.
struct Script {
  std::string interpreter, argument;
};
std::optional<Script> read_script(Bytes file);

// What decides whether the kernel starts the program in secure-execution mode (AT_SECURE), in which
// ld.so drops LD_PRELOAD.
struct Privileges {
  mode_t mode = 0;
  uid_t owner = 0;
  gid_t group = 0;
  bool has_capabilities = false;  // a security.capability attribute that grants some
  bool ignored = false;           // mounted nosuid
};
struct Caller {
  uid_t real_uid = 0, effective_uid = 0;
  gid_t real_gid = 0, effective_gid = 0;
  bool no_new_privileges = false;
};
bool drops_preload(const Privileges& file, const Caller& caller);

// Does the value of a security.capability attribute grant anything?
bool grants_capabilities(Bytes attribute);

// --- at the edge -----------------------------------------------------------------------------

// Looks the program up as execvp would in `path_list` (PATH) and follows "#!" and `env`. An error:
// there is no such program.
Result<Verdict> check_program(const std::string& program, std::string_view path_list);

}  // namespace subset::ctl
