// SPDX-License-Identifier: MIT
#include "ctl/program_check.h"

#include <elf.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include <doctest/doctest.h>

using namespace subset::ctl;

namespace {

using Buffer = std::vector<std::byte>;

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

Buffer contents_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Bytes bytes = bytes_of(text);
  return {bytes.begin(), bytes.end()};
}

template <typename T>
size_t append(Buffer& buffer, const T& value) {
  size_t at = buffer.size();
  const auto* start = reinterpret_cast<const std::byte*>(&value);
  buffer.insert(buffer.end(), start, start + sizeof value);
  return at;
}

size_t append(Buffer& buffer, const std::string& text) {
  size_t at = buffer.size();
  Bytes bytes = bytes_of(text);
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
  return at;
}

uint16_t host_machine() {
  std::ifstream self("/proc/self/exe", std::ios::binary);
  Elf64_Ehdr header{};
  self.read(reinterpret_cast<char*>(&header), sizeof header);
  return header.e_machine;
}

struct Recipe {
  std::string interpreter;  // with its NUL
  bool needed = false;
  std::string go_note;     // the owner of a note
  std::string go_section;  // the name of a section
  unsigned char elf_class = ELFCLASS64;
  uint16_t machine = host_machine();
};

Elf64_Phdr segment(uint32_t type, uint64_t offset, uint64_t size) {
  Elf64_Phdr header{};
  header.p_type = type;
  header.p_offset = offset;
  header.p_filesz = size;
  return header;
}

// An ELF file with no more in it than what is looked at.
Buffer bake(const Recipe& recipe) {
  Buffer file(sizeof(Elf64_Ehdr));
  std::vector<Elf64_Phdr> segments;
  if (!recipe.interpreter.empty())
    segments.push_back(
        segment(PT_INTERP, append(file, recipe.interpreter), recipe.interpreter.size()));
  if (recipe.needed) {
    Elf64_Dyn dynamic[2] = {};
    dynamic[0].d_tag = DT_NEEDED;
    segments.push_back(segment(PT_DYNAMIC, append(file, dynamic), sizeof dynamic));
  }
  if (!recipe.go_note.empty()) {
    Elf64_Nhdr note{
        .n_namesz = static_cast<Elf64_Word>(recipe.go_note.size()), .n_descsz = 0, .n_type = 4};
    size_t at = append(file, note);
    append(file, recipe.go_note);
    segments.push_back(segment(PT_NOTE, at, sizeof note + recipe.go_note.size()));
  }
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = recipe.elf_class;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = recipe.machine;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<uint16_t>(segments.size());
  header.e_phoff = file.size();
  for (const Elf64_Phdr& each : segments) append(file, each);
  if (!recipe.go_section.empty()) {
    std::string names("\0", 1);
    names += recipe.go_section + std::string("\0", 1);
    Elf64_Shdr strings{};
    strings.sh_offset = append(file, names);
    strings.sh_size = names.size();
    Elf64_Shdr section{};
    section.sh_name = 1;
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = 2;
    header.e_shstrndx = 0;
    header.e_shoff = append(file, strings);
    append(file, section);
  }
  std::memcpy(file.data(), &header, sizeof header);
  return file;
}

Reach reach_of(const Recipe& recipe) {
  auto facts = read_elf(bake(recipe));
  REQUIRE(facts);
  return judge(*facts).reach;
}

const std::string kGlibc("/lib64/ld-linux-x86-64.so.2\0", 28);

}  // namespace

TEST_CASE("a dynamic program of this machine can be reached") {
  CHECK(reach_of({.interpreter = kGlibc, .needed = true}) == Reach::Ok);
  auto facts = read_elf(bake({.interpreter = kGlibc, .needed = true}));
  CHECK(facts->interpreter == kGlibc.c_str());
  CHECK(facts->needs_libraries);
}

TEST_CASE("what makes its own system calls is refused") {
  CHECK(reach_of({}) == Reach::Refuse);
  CHECK(reach_of({.interpreter = kGlibc, .needed = true, .go_note = std::string("Go\0\0", 4)}) ==
        Reach::Refuse);
  CHECK(reach_of({.go_section = ".go.buildinfo"}) == Reach::Refuse);
  CHECK(reach_of({.interpreter = kGlibc, .needed = true, .go_section = ".note.go.buildid"}) ==
        Reach::Refuse);
  CHECK(reach_of({.interpreter = kGlibc, .needed = true, .go_note = std::string("GNU\0", 4)}) ==
        Reach::Ok);
}

TEST_CASE("another word size or machine is refused") {
  CHECK(reach_of({.interpreter = kGlibc, .elf_class = ELFCLASS32}) == Reach::Refuse);
  CHECK(reach_of({.interpreter = kGlibc, .machine = EM_S390}) == Reach::Refuse);
}

TEST_CASE("musl is warned of") {
  CHECK(reach_of({.interpreter = std::string("/lib/ld-musl-x86_64.so.1\0", 25), .needed = true}) ==
        Reach::Warn);
}

TEST_CASE("a file that is cut anywhere is read without harm") {
  Buffer whole = bake({.interpreter = kGlibc,
                       .needed = true,
                       .go_note = std::string("Go\0\0", 4),
                       .go_section = ".go.buildinfo"});
  for (size_t size = 0; size < whole.size(); ++size) read_elf(Bytes(whole).first(size));
}

TEST_CASE("offsets that point nowhere are read without harm") {
  Buffer file = bake({.interpreter = kGlibc, .needed = true, .go_section = ".go.buildinfo"});
  for (size_t at = 0; at + 8 <= file.size(); at += 8) {
    Buffer damaged = file;
    std::memset(damaged.data() + at, 0xff, 8);
    read_elf(damaged);
  }
}

TEST_CASE("what is no ELF file is left to others") {
  CHECK(!read_elf({}));
  CHECK(!read_elf(bytes_of("MZ and so on, for binfmt_misc")));
}

TEST_CASE("real programs") {
  auto facts = read_elf(contents_of("/bin/true"));
  REQUIRE(facts);
  CHECK(facts->native);
  CHECK(facts->needs_libraries);
  CHECK(judge(*facts).reach == Reach::Ok);
  facts = read_elf(contents_of("/proc/self/exe"));
  REQUIRE(facts);
  CHECK(judge(*facts).reach == Reach::Ok);
}

TEST_CASE("scripts name their interpreter") {
  CHECK(!read_script(bytes_of("echo no")));
  CHECK(read_script(bytes_of("#!/bin/sh\nexit"))->interpreter == "/bin/sh");
  auto script = read_script(bytes_of("#! \t/usr/bin/env  python3 -u \nprint()"));
  REQUIRE(script);
  CHECK(script->interpreter == "/usr/bin/env");
  CHECK(script->argument == "python3 -u");
  CHECK(read_script(bytes_of("#!/bin/sh"))->interpreter == "/bin/sh");
  CHECK(read_script(bytes_of("#!"))->interpreter.empty());
}

TEST_CASE("secure execution, as the kernel decides it") {
  const Caller user{.real_uid = 1000, .effective_uid = 1000, .real_gid = 100, .effective_gid = 100};
  const Caller root{};
  const Privileges plain{.mode = 0755, .owner = 0, .group = 0};
  Privileges set_user = plain;
  set_user.mode = 04755;
  CHECK_FALSE(drops_preload(plain, user));
  CHECK(drops_preload(set_user, user));
  CHECK_FALSE(drops_preload(set_user, root));  // root becomes root

  Privileges own = set_user;
  own.owner = 1000;
  CHECK_FALSE(drops_preload(own, user));
  CHECK(drops_preload(own, root));

  Privileges set_group = plain;
  set_group.mode = 02755;
  CHECK(drops_preload(set_group, user));
  set_group.mode = 02745;  // no S_IXGRP: not a set-group-id program
  CHECK_FALSE(drops_preload(set_group, user));

  Privileges capable = plain;
  capable.has_capabilities = true;
  CHECK(drops_preload(capable, user));
  CHECK_FALSE(drops_preload(capable, root));

  Privileges ignored = set_user;
  ignored.has_capabilities = true;
  ignored.ignored = true;
  CHECK_FALSE(drops_preload(ignored, user));
  Caller confined = user;
  confined.no_new_privileges = true;
  CHECK_FALSE(drops_preload(set_user, confined));

  // Already running with other ids than the real ones: the next program starts secure too.
  Caller raised = user;
  raised.effective_uid = 0;
  CHECK(drops_preload(plain, raised));
}

TEST_CASE("capability attributes that grant something") {
  struct {
    uint32_t magic, permitted_low, inheritable_low, permitted_high, inheritable_high;
  } attribute{0x02000000, 0, 0, 0, 0};
  auto grants = [&] { return grants_capabilities(std::as_bytes(std::span(&attribute, 1))); };
  CHECK_FALSE(grants());
  attribute.inheritable_low = 1;
  CHECK_FALSE(grants());
  attribute.permitted_high = 1;
  CHECK(grants());
  attribute = {0x02000001, 0, 0, 0, 0};
  CHECK(grants());
  CHECK_FALSE(grants_capabilities({}));
}

TEST_CASE("programs are looked up as execvp does") {
  CHECK(check_program("true", "/nowhere:/bin:/usr/bin")->reach == Reach::Ok);
  CHECK(check_program("/bin/true", "")->reach == Reach::Ok);
  CHECK(check_program("true", "/nowhere").error().message().find("true") != std::string::npos);
  CHECK_FALSE(check_program("", "/bin"));
  CHECK_FALSE(check_program("/etc/passwd", "/bin"));
  CHECK_FALSE(check_program("/", "/bin"));
}
