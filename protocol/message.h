// SPDX-License-Identifier: MIT
// Messages of the control socket (AF_UNIX, SOCK_SEQPACKET). One message is one packet; every kind
// has one fixed size; integers are in host order, since both ends share a kernel. A peer that sends
// another magic, version, kind or size gets a Reply with EPROTO and is disconnected.
//
// Whoever changes a struct changes kVersion. Reserved fields are sent as zero and refused
// otherwise, so that a later version may give them a meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subset::protocol {

inline constexpr uint32_t kMagic = 0x53425553;  // "SUBS" in memory on a little-endian machine
inline constexpr uint16_t kVersion = 2;
inline constexpr char kDefaultSocketPath[] = "/run/subset/subsetd.sock";
inline constexpr size_t kMaxMessage = 512;  // no message is larger

enum class Kind : uint16_t {
  Register = 1,  // shim -> daemon, one descriptor: the bound (UDP) or listening (TCP) socket
  Leave = 2,     // shim -> daemon, one descriptor: a member that leaves its group
  Query = 3,     // shim -> daemon, one descriptor: what was assigned to this socket?
  Status = 4,    // command -> daemon, answered by a Document
  Change = 5,    // command -> daemon: drain, resume, weight, mode, activate, abandon, release
  Follow = 6,    // command -> daemon: answered by a stream of Event
  Reclaim = 7,   // shim -> daemon, one descriptor: a socket that is about to be bound
  Reply = 100,
  Document = 101,  // one descriptor: a sealed memfd with JSON text
  Event = 102,
};

struct Header {
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  Kind kind{};
  uint32_t size = 0;  // of the whole message
  uint32_t reserved = 0;
};

// Wanted::flags
inline constexpr uint8_t kElastic = 1u << 0;       // SUBSET=auto: the total follows the lineages
inline constexpr uint8_t kModeGiven = 1u << 1;     // the mode was asked for, not defaulted
inline constexpr uint8_t kVacancyGiven = 1u << 2;  // the same of vacancy
inline constexpr uint8_t kMustJoin = 1u << 3;      // SUBSET_FALLBACK=fail: useless once I have gone
inline constexpr uint8_t kWeightGiven = 1u << 4;   // the same of weight
// The sender registers this UDP socket again, without this flag, when its process first uses it.
// Until then a takeover from a process that serves may wait: Reply::error is EINPROGRESS, and the
// rest of the Reply says what was assigned. A daemon that does not know the flag says EPROTO.
inline constexpr uint8_t kTellsUse = 1u << 5;

// What a process asks for with a socket, whether that is bound already or about to be.
struct Wanted {
  uint64_t lineage = 0;   // not 0
  uint32_t total = 0;     // 1 to kMaxTotal; 0 with kElastic
  uint32_t instance = 0;  // below total, or kAnyInstance
  uint32_t weight = 0;    // 1 to kMaxWeight
  uint8_t mode = 0;       // subset::Mode
  uint8_t vacancy = 0;    // subset::Vacancy
  uint8_t conflict = 0;   // subset::Conflict
  uint8_t flags = 0;
};

struct Register {
  Header header{.kind = Kind::Register, .size = sizeof(Register)};
  Wanted wanted;
  uint64_t reserved[4] = {};
};

// Before bind, with vacancy `hold`: is there a held socket for me? Answered by a Reply without
// error and the held socket (SCM_RIGHTS), which is the peer's member from then on; or by one with
// ENOENT: bind yourself. Namespace, family, protocol, owner, device and v6only are the
// descriptor's, and so is the receive buffer that the held socket shall have.
struct Reclaim {
  Header header{.kind = Kind::Reclaim, .size = sizeof(Reclaim)};
  Wanted wanted;
  uint8_t address[16] = {};  // to be bound, network order; IPv4 in the first four bytes
  uint32_t scope = 0;        // of a link-local IPv6 address (sin6_scope_id), else 0
  uint16_t port = 0;         // host order, not 0
  uint16_t reserved0 = 0;
  uint64_t reserved[2] = {};
};

// OfSocket::flags of a Leave: the socket stays bound, as its workers have siblings of it. It is
// neither a member nor a stranger.
inline constexpr uint32_t kParked = 1u << 0;
// The sender is about to close its descriptor: leave, unless somebody has another one (EBUSY). Not
// together with kParked.
inline constexpr uint32_t kLastOnly = 1u << 1;

// Leave and Query: the descriptor says it all.
struct OfSocket {
  Header header{.size = sizeof(OfSocket)};
  uint32_t flags = 0;
  uint32_t reserved0 = 0;
  uint64_t reserved[1] = {};
};

struct Status {
  Header header{.kind = Kind::Status, .size = sizeof(Status)};
  uint64_t reserved[2] = {};
};

struct Follow {
  Header header{.kind = Kind::Follow, .size = sizeof(Follow)};
  uint64_t reserved[2] = {};
};

enum class Verb : uint16_t { Drain = 1, Resume, Weight, SetMode, Activate, Abandon, Release };

struct Change {
  Header header{.kind = Kind::Change, .size = sizeof(Change)};
  Verb verb{};
  uint16_t reserved0 = 0;
  uint32_t instance = kAll;  // or every instance of the group
  uint32_t value = 0;        // the weight, or the mode
  uint32_t reserved1 = 0;
  char group[200] = {};  // the group's id, NUL-terminated
  uint64_t reserved2[2] = {};

  static constexpr uint32_t kAll = 0xffffffffu;
};

struct Reply {
  Header header{.kind = Kind::Reply, .size = sizeof(Reply)};
  int32_t error = 0;  // an errno, or 0; EINPROGRESS only to who sent kTellsUse
  uint32_t total = 0;
  uint32_t instance = 0;
  uint32_t member = 0;  // ordinal of the socket within its instance
  char text[240] = {};  // for people: why it failed, or a warning beside error 0; NUL-terminated
};

struct Document {
  Header header{.kind = Kind::Document, .size = sizeof(Document)};
  uint64_t bytes = 0;  // length of the text in the memfd
};

struct Event {
  Header header{.kind = Kind::Event, .size = sizeof(Event)};
  char json[480] = {};  // one object, NUL-terminated
};

static_assert(sizeof(Header) == 16);
static_assert(sizeof(Wanted) == 24);
static_assert(sizeof(Register) == 72);
static_assert(sizeof(Reclaim) == 80);
static_assert(sizeof(OfSocket) == 32);
static_assert(sizeof(Status) == 32);
static_assert(sizeof(Change) == 248);
static_assert(sizeof(Reply) == 272);
static_assert(sizeof(Document) == 24);
static_assert(sizeof(Event) == 496);
static_assert(std::is_trivially_copyable_v<Register> && std::is_trivially_copyable_v<Reclaim> &&
              std::is_trivially_copyable_v<Change> && std::is_trivially_copyable_v<Reply> &&
              std::is_trivially_copyable_v<Event>);

}  // namespace subset::protocol
