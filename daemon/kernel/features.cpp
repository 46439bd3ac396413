// SPDX-License-Identifier: MIT
#include "daemon/kernel/features.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <span>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/kernel/trial.h"

namespace subset::kernel {
namespace {

// --- a few instructions, by hand: what is tried must not depend on a compiler ------------------

bpf_insn instruction(unsigned code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
  return {.code = static_cast<uint8_t>(code),
          .dst_reg = to,
          .src_reg = from,
          .off = offset,
          .imm = value};
}

// Some parts of a code are 0; that is the encoding.
// NOLINTBEGIN(misc-redundant-expression)
bpf_insn move_imm(uint8_t to, int32_t value) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value);
}
bpf_insn move_reg(uint8_t to, uint8_t from) {
  return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}
bpf_insn add_imm(uint8_t to, int32_t value) {
  return instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value);
}
bpf_insn store_word(uint8_t base, int16_t offset, int32_t value) {
  return instruction(BPF_ST | BPF_MEM | BPF_W, base, 0, offset, value);
}
bpf_insn load_map(uint8_t to, int fd) {
  return instruction(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_FD, 0, fd);
}
constexpr bpf_insn kSecondHalf{};  // of load_map
bpf_insn call(int32_t helper) {
  return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}
bpf_insn leave() {
  return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

// NOLINTEND(misc-redundant-expression)

// --- programs, maps, sockets --------------------------------------------------------------------

Result<Fd> owned(int fd, const char* what) {
  if (fd < 0) return fail_system(-fd, what);
  return Fd(fd);
}

Result<Fd> make_map(bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries,
                    const char* what) {
  return owned(bpf_map_create(type, "subset_probe", key, value, entries, nullptr), what);
}

Result<Fd> load(bpf_prog_type type, bpf_attach_type attach, uint32_t btf_id,
                std::span<const bpf_insn> code, const char* what) {
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach, .attach_btf_id = btf_id);
  return owned(bpf_prog_load(type, "subset_probe", "GPL", code.data(), code.size(), &options),
               what);
}

Result<Fd> load_selector(std::span<const bpf_insn> code, const char* what) {
  return load(BPF_PROG_TYPE_SK_REUSEPORT, BPF_SK_REUSEPORT_SELECT_OR_MIGRATE, 0, code, what);
}

// On the loopback interface, on a port that nobody knows: nothing arrives.
Result<Fd> bound_socket() {
  Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("bind a UDP socket on 127.0.0.1");
  return fd;
}

// --- what is tried ------------------------------------------------------------------------------

Result<void> try_selection() {
  const bpf_insn pass[] = {move_imm(BPF_REG_0, SK_PASS), leave()};
  auto program = load_selector(pass, "load an sk_reuseport program that selects or migrates");
  if (!program) return tl::make_unexpected(program.error());
  auto socket = bound_socket();
  if (!socket) return tl::make_unexpected(socket.error());
  int fd = program->get();
  if (setsockopt(socket->get(), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &fd, sizeof fd) != 0)
    return fail_errno("attach it to a socket");
  return {};
}

Result<void> try_socket_array() {
  auto map = make_map(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, 1, "create the map");
  if (!map) return tl::make_unexpected(map.error());
  // r2 = map, r3 = &0 on the stack, r4 = 0: bpf_sk_select_reuseport(ctx, map, &key, flags)
  const bpf_insn select[] = {
      store_word(BPF_REG_10, -4, 0),      load_map(BPF_REG_2, map->get()), kSecondHalf,
      move_reg(BPF_REG_3, BPF_REG_10),    add_imm(BPF_REG_3, -4),          move_imm(BPF_REG_4, 0),
      call(BPF_FUNC_sk_select_reuseport), move_imm(BPF_REG_0, SK_PASS),    leave()};
  auto program = load_selector(select, "load a program that selects from it");
  if (!program) return tl::make_unexpected(program.error());
  auto socket = bound_socket();
  if (!socket) return tl::make_unexpected(socket.error());
  uint32_t slot = 0;
  uint64_t value = static_cast<uint64_t>(socket->get());
  if (bpf_map_update_elem(map->get(), &slot, &value, BPF_ANY) != 0)
    return fail_errno("put a socket into it");
  return {};
}

struct FreeBtf {
  void operator()(btf* types) const { btf__free(types); }
};

// A map of socket storage describes its key and value, both ints here, in BTF of its own.
Result<Fd> make_storage_map() {
  std::unique_ptr<btf, FreeBtf> types(btf__new_empty());
  int id = types ? btf__add_int(types.get(), "int", 4, BTF_INT_SIGNED) : -ENOMEM;
  if (id < 0) return fail_system(-id, "describe its types");
  if (int error = btf__load_into_kernel(types.get()); error != 0)
    return fail_system(-error, "load its types");
  LIBBPF_OPTS(bpf_map_create_opts, options, .btf_fd = static_cast<uint32_t>(btf__fd(types.get())),
              .btf_key_type_id = static_cast<uint32_t>(id),
              .btf_value_type_id = static_cast<uint32_t>(id),
              .map_flags = BPF_F_NO_PREALLOC | BPF_F_CLONE);
  return owned(bpf_map_create(BPF_MAP_TYPE_SK_STORAGE, "subset_probe", 4, 4, 0, &options),
               "create the map");
}

Result<void> try_storage() {
  auto map = make_storage_map();
  if (!map) return tl::make_unexpected(map.error());
  auto socket = bound_socket();
  if (!socket) return tl::make_unexpected(socket.error());
  int key = socket->get();
  int value = 1;
  if (bpf_map_update_elem(map->get(), &key, &value, BPF_ANY) != 0)
    return fail_errno("tag a socket");
  return {};
}

Result<void> try_ring_buffer() {
  auto size = static_cast<uint32_t>(sysconf(_SC_PAGESIZE));
  auto map = make_map(BPF_MAP_TYPE_RINGBUF, 0, 0, size, "create the map");
  if (!map) return tl::make_unexpected(map.error());
  return {};
}

Result<void> try_tail_call() {
  auto map = make_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, "create the map");
  if (!map) return tl::make_unexpected(map.error());
  const bpf_insn jump[] = {load_map(BPF_REG_2, map->get()), kSecondHalf,
                           move_imm(BPF_REG_3, 0),          call(BPF_FUNC_tail_call),
                           move_imm(BPF_REG_0, SK_PASS),    leave()};
  auto program = load_selector(jump, "load a program with a tail call");
  if (!program) return tl::make_unexpected(program.error());
  uint32_t slot = 0;
  int fd = program->get();
  if (bpf_map_update_elem(map->get(), &slot, &fd, BPF_ANY) != 0)
    return fail_errno("put a program into it");
  return {};
}

Result<uint32_t> kernel_type(const char* name, bpf_attach_type attach) {
  int id = libbpf_find_vmlinux_btf_id(name, attach);
  if (id <= 0)
    return fail(id == 0 ? ENOENT : -id, std::string("find ") + name + " in the kernel's BTF");
  return static_cast<uint32_t>(id);
}

Result<Fd> load_tracer(const char* target, bpf_attach_type attach) {
  auto id = kernel_type(target, attach);
  if (!id) return tl::make_unexpected(id.error());
  const bpf_insn nothing[] = {move_imm(BPF_REG_0, 0), leave()};
  return load(BPF_PROG_TYPE_TRACING, attach, *id, nothing, "load the program");
}

Result<void> try_iterator() {
  auto program = load_tracer("bpf_sk_storage_map", BPF_TRACE_ITER);
  if (!program) return tl::make_unexpected(program.error());
  auto map = make_storage_map();
  if (!map) return fail(map.error(), "a map to iterate over");
  bpf_iter_link_info info{};
  info.map.map_fd = static_cast<uint32_t>(map->get());
  LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &info, .iter_info_len = sizeof info);
  auto link = owned(bpf_link_create(program->get(), 0, BPF_TRACE_ITER, &options), "attach it");
  if (!link) return tl::make_unexpected(link.error());
  auto iterator = owned(bpf_iter_create(link->get()), "create the iterator");
  if (!iterator) return tl::make_unexpected(iterator.error());
  char nothing = 0;
  if (read(iterator->get(), &nothing, sizeof nothing) < 0) return fail_errno("iterate");
  return {};
}

Result<void> try_state_watch() {
  auto program = load_tracer("inet_sock_set_state", BPF_TRACE_RAW_TP);
  if (!program) return tl::make_unexpected(program.error());
  auto link = owned(bpf_raw_tracepoint_open(nullptr, program->get()), "attach it");
  if (!link) return tl::make_unexpected(link.error());
  return {};
}

struct Probe {
  const char* name;
  bool required;
  Result<void> (*attempt)();
  const char* cost;
};

constexpr Probe kProbes[] = {
    {"select or migrate", true, try_selection, "no steering"},
    {"socket array", true, try_socket_array, "no steering"},
    {"socket storage", true, try_storage, "no queues, drops and connections; no adoption"},
    {"ring buffer", true, try_ring_buffer, "the daemon does not hear of members that died"},
    {"tail call", true, try_tail_call, "no change of mode while traffic flows"},
    {"socket iterator", false, try_iterator,
     "each look at the queues goes over all descriptors of the machine, 1 us each"},
    {"connection states", false, try_state_watch, "mode least does not count connections"},
};

// A kernel that has all of the parts may still refuse what is made of them.
Feature probe_programs() {
  auto outcome = try_programs();
  const int code = outcome ? 0 : outcome.error().code;
  const bool can_try = code != ENODEV;
  return {.name = "subset's programs",
          .ok = outcome.has_value(),
          .required = can_try,
          .code = code,
          .detail = outcome ? "tried: works" : outcome.error().message(),
          .cost = can_try ? "no daemon starts" : "nothing, if a daemon starts",
          .remedy =
              can_try ? "see what subsetd prints when it is started: the kernel says there what it "
                        "refuses; use another kernel"
                      : "mount -t bpf bpf /sys/fs/bpf"};
}

int be_quiet(libbpf_print_level, const char*, va_list) {
  return 0;
}

// libbpf explains failures on standard error; here they are answers.
class QuietLibbpf {
 public:
  QuietLibbpf() : before_(libbpf_set_print(be_quiet)) {}
  ~QuietLibbpf() { libbpf_set_print(before_); }
  QuietLibbpf(const QuietLibbpf&) = delete;
  QuietLibbpf& operator=(const QuietLibbpf&) = delete;

 private:
  libbpf_print_fn_t before_;
};

}  // namespace

bool iterates_storage() {
  return try_iterator().has_value();
}

std::vector<Feature> probe_features() {
  QuietLibbpf quiet;
  std::vector<Feature> features;
  for (const Probe& probe : kProbes) {
    auto outcome = probe.attempt();
    features.push_back({.name = probe.name,
                        .ok = outcome.has_value(),
                        .required = probe.required,
                        .code = outcome ? 0 : outcome.error().code,
                        .detail = outcome ? "tried: works" : outcome.error().message(),
                        .cost = probe.cost,
                        .remedy = {}});
  }
  features.push_back(probe_programs());  // last: the parts say more exactly what is missing
  return features;
}

}  // namespace subset::kernel
