// SPDX-License-Identifier: MIT
#include "ctl/program_check.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "daemon/base/fd.h"

namespace subset::ctl {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "tell read_elf the machine of this architecture"
#endif
constexpr unsigned char kByteOrder =
    std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;

// Every read of a file that may be damaged or hostile goes through these two.
template <typename T>
std::optional<T> read_at(Bytes file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

Bytes part_of(Bytes file, uint64_t offset, uint64_t size) {
  if (offset > file.size()) return {};
  return file.subspan(offset, std::min<uint64_t>(size, file.size() - offset));
}

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string_view c_string(Bytes bytes) {
  std::string_view text = text_of(bytes);
  return text.substr(0, std::min(text.find('\0'), text.size()));
}

bool needs_libraries(Bytes dynamic) {
  for (uint64_t offset = 0;; offset += sizeof(Elf64_Dyn)) {
    auto entry = read_at<Elf64_Dyn>(dynamic, offset);
    if (!entry || entry->d_tag == DT_NULL) return false;
    if (entry->d_tag == DT_NEEDED) return true;
  }
}

// Go's linker writes a note of the owner "Go", which survives strip.
bool is_go_note(Bytes note) {
  auto header = read_at<Elf64_Nhdr>(note, 0);
  return header && c_string(part_of(note, sizeof *header, header->n_namesz)) == "Go";
}

void read_segments(Bytes file, const Elf64_Ehdr& header, ElfFacts& facts) {
  for (uint16_t i = 0; i < header.e_phnum; ++i) {
    auto segment = read_at<Elf64_Phdr>(file, header.e_phoff + uint64_t{i} * header.e_phentsize);
    if (!segment) return;
    Bytes content = part_of(file, segment->p_offset, segment->p_filesz);
    if (segment->p_type == PT_INTERP) facts.interpreter = c_string(content);
    if (segment->p_type == PT_DYNAMIC) facts.needs_libraries |= needs_libraries(content);
    if (segment->p_type == PT_NOTE) facts.go |= is_go_note(content);
  }
}

bool has_go_section(Bytes file, const Elf64_Ehdr& header) {
  auto section = [&](uint16_t index) {
    return read_at<Elf64_Shdr>(file, header.e_shoff + uint64_t{index} * header.e_shentsize);
  };
  auto names = section(header.e_shstrndx);
  if (!names || header.e_shnum == 0) return false;
  Bytes strings = part_of(file, names->sh_offset, names->sh_size);
  for (uint16_t i = 0; i < header.e_shnum; ++i) {
    auto each = section(i);
    if (!each) return false;
    std::string_view name = c_string(part_of(strings, each->sh_name, strings.size()));
    if (name == ".go.buildinfo" || name == ".note.go.buildid") return true;
  }
  return false;
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  size_t first = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(first);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

}  // namespace

std::optional<ElfFacts> read_elf(Bytes file) {
  auto ident = read_at<std::array<unsigned char, EI_NIDENT>>(file, 0);
  if (!ident || std::memcmp(ident->data(), ELFMAG, SELFMAG) != 0) return std::nullopt;
  ElfFacts facts;
  if ((*ident)[EI_CLASS] != ELFCLASS64 || (*ident)[EI_DATA] != kByteOrder) return facts;
  auto header = read_at<Elf64_Ehdr>(file, 0);
  if (!header) return std::nullopt;
  facts.native = header->e_machine == kMachine;
  read_segments(file, *header, facts);
  facts.go |= has_go_section(file, *header);
  return facts;
}

Verdict judge(const ElfFacts& facts) {
  if (!facts.native)
    return {Reach::Refuse, "is built for another machine: libsubset.so cannot be loaded into it"};
  // With cgo it is dynamic, and its net package still does not call libc.
  if (facts.go)
    return {Reach::Refuse,
            "is a Go program and makes its own system calls: LD_PRELOAD cannot reach it"};
  if (facts.interpreter.empty() && !facts.needs_libraries)
    return {Reach::Refuse,
            "is statically linked and makes its own system calls: LD_PRELOAD cannot reach it"};
  if (base_name(facts.interpreter).starts_with("ld-musl"))
    return {Reach::Warn, "is linked with musl, libsubset.so with glibc: it may not load"};
  return {};
}

std::optional<Script> read_script(Bytes file) {
  constexpr size_t kKernelReads = 256;  // BINPRM_BUF_SIZE
  std::string_view text = text_of(part_of(file, 0, kKernelReads));
  if (!text.starts_with("#!")) return std::nullopt;
  text = trimmed(text.substr(2, text.find('\n') - 2));
  size_t blank = std::min(text.find_first_of(" \t"), text.size());
  return Script{.interpreter = std::string(text.substr(0, blank)),
                .argument = std::string(trimmed(text.substr(blank)))};
}

// As cap_bprm_creds_from_file() in the kernel's security/commoncap.c: secure if an id changes from
// the caller's real one, or if the file grants capabilities to a caller who is not root (root has
// them anyway). The bits count for nothing under no_new_privs or on a nosuid mount. So a
// set-user-id program that its own owner runs keeps LD_PRELOAD.
bool drops_preload(const Privileges& file, const Caller& caller) {
  bool honoured = !file.ignored && !caller.no_new_privileges;
  uid_t uid = honoured && (file.mode & S_ISUID) != 0 ? file.owner : caller.effective_uid;
  // Without S_IXGRP the bit once meant mandatory locking.
  constexpr mode_t kSetGroup = S_ISGID | S_IXGRP;
  gid_t gid = honoured && (file.mode & kSetGroup) == kSetGroup ? file.group : caller.effective_gid;
  if (uid != caller.real_uid || gid != caller.real_gid) return true;
  return honoured && file.has_capabilities && caller.real_uid != 0;
}

bool grants_capabilities(Bytes attribute) {
  // struct vfs_cap_data: magic_etc, then pairs of permitted and inheritable; revision 1 has one
  // pair, 2 and 3 two. Inheritable ones alone grant only what the caller has.
  auto magic = read_at<uint32_t>(attribute, 0);
  if (!magic) return false;
  auto low = read_at<uint32_t>(attribute, 4).value_or(0);
  auto high = read_at<uint32_t>(attribute, 12).value_or(0);
  return low != 0 || high != 0 || (*magic & VFS_CAP_FLAGS_EFFECTIVE) != 0;
}

namespace {

class Mapping {
 public:
  Mapping() = default;
  Mapping(void* start, size_t size) : start_(start), size_(size) {}
  Mapping(Mapping&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&&) = delete;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (start_ != nullptr) munmap(start_, size_);
  }
  Bytes bytes() const { return {static_cast<const std::byte*>(start_), start_ ? size_ : 0}; }

 private:
  void* start_ = nullptr;
  size_t size_ = 0;
};

// Mapped, because a server may have hundreds of megabytes and we look at a few pages.
Result<Mapping> map_file(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0) return fail_errno("read " + path);
  if (info.st_size == 0) return Mapping();
  auto size = static_cast<size_t>(info.st_size);
  void* start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (start == MAP_FAILED) return fail_errno("read " + path);
  return Mapping(start, size);
}

bool executable_file(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

Result<std::string> find_program(const std::string& program, std::string_view path_list) {
  if (program.find('/') != std::string::npos) {
    errno = 0;  // a directory is refused by us, not by the system
    if (executable_file(program)) return program;
    return fail_system(errno != 0 ? errno : EACCES, "cannot run " + program);
  }
  for (bool more = true; more;) {
    size_t colon = path_list.find(':');
    more = colon != std::string_view::npos;
    std::string folder(path_list.substr(0, colon));
    std::string path = (folder.empty() ? "." : folder) + "/" + program;
    if (!program.empty() && executable_file(path)) return path;
    if (more) path_list.remove_prefix(colon + 1);
  }
  return fail(0, "no program '" + program + "' in PATH: give its path");
}

Privileges privileges_of(const std::string& path) {
  Privileges file;
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) {
    file.mode = info.st_mode;
    file.owner = info.st_uid;
    file.group = info.st_gid;
  }
  std::byte attribute[XATTR_CAPS_SZ_3];
  ssize_t size = getxattr(path.c_str(), "security.capability", attribute, sizeof attribute);
  file.has_capabilities =
      size > 0 && grants_capabilities(Bytes(attribute, static_cast<size_t>(size)));
  struct statvfs mount {};
  file.ignored = statvfs(path.c_str(), &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0;
  return file;
}

Caller this_caller() {
  return {.real_uid = getuid(),
          .effective_uid = geteuid(),
          .real_gid = getgid(),
          .effective_gid = getegid(),
          .no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1};
}

// `#!/usr/bin/env -S NAME=VALUE python3 -u`: what env will look up.
std::string program_of_env(std::string_view argument) {
  while (!argument.empty()) {
    size_t blank = std::min(argument.find_first_of(" \t"), argument.size());
    std::string_view word = argument.substr(0, blank);
    if (!word.starts_with('-') && word.find('=') == std::string_view::npos)
      return std::string(word);
    argument = trimmed(argument.substr(blank));
  }
  return {};
}

Result<Verdict> check_found(const std::string& path, std::string_view path_list, int depth) {
  constexpr int kMaxDepth = 5;  // the kernel gives up there too
  auto mapping = map_file(path);
  if (!mapping)  // may be executed without being readable
    return Verdict{Reach::Warn, "cannot be read: whether LD_PRELOAD reaches it is not known"};
  Bytes file = mapping->bytes();
  auto script = read_script(file);
  if (script && depth < kMaxDepth) {
    std::string next = base_name(script->interpreter) == "env" ? program_of_env(script->argument)
                                                               : script->interpreter;
    auto found = find_program(next, path_list);
    if (!found) return fail(found.error(), "the interpreter of " + path);
    return check_found(*found, path_list, depth + 1);
  }
  if (drops_preload(privileges_of(path), this_caller()))
    return Verdict{Reach::Refuse,
                   "gains privileges when it starts (set-user-id, set-group-id or file "
                   "capabilities): LD_PRELOAD is dropped"};
  // Anything else is for binfmt_misc, or for the shell that execvp tries: nothing to find fault in.
  auto facts = read_elf(file);
  return facts ? judge(*facts) : Verdict{};
}

}  // namespace

Result<Verdict> check_program(const std::string& program, std::string_view path_list) {
  auto path = find_program(program, path_list);
  if (!path) return tl::make_unexpected(path.error());
  return check_found(*path, path_list, 0);
}

}  // namespace subset::ctl
