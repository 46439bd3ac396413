// SPDX-License-Identifier: MIT
#include "daemon/control/decode.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>

#include "protocol/policy.h"

namespace subset::control {
namespace {

using protocol::Change;
using protocol::Header;
using protocol::Kind;
using protocol::Verb;
using protocol::Wanted;

using Packet = std::span<const std::byte>;

constexpr uint8_t kKnownFlags = protocol::kElastic | protocol::kModeGiven | protocol::kTellsUse |
                                protocol::kVacancyGiven | protocol::kMustJoin |
                                protocol::kWeightGiven;

struct Shape {
  size_t size = 0;
  size_t descriptors = 0;
};

// What a peer may send; nothing for kinds that only the daemon sends, and for unknown ones.
std::optional<Shape> shape_of(Kind kind) {
  switch (kind) {
    case Kind::Register:
      return Shape{sizeof(protocol::Register), 1};
    case Kind::Reclaim:
      return Shape{sizeof(protocol::Reclaim), 1};
    case Kind::Leave:
    case Kind::Query:
      return Shape{sizeof(protocol::OfSocket), 1};
    case Kind::Status:
      return Shape{sizeof(protocol::Status), 0};
    case Kind::Change:
      return Shape{sizeof(Change), 0};
    case Kind::Follow:
      return Shape{sizeof(protocol::Follow), 0};
    default:
      return std::nullopt;
  }
}

// "size 12 (expected 72)", the form of most refusals.
std::string unlike(const char* what, uint64_t got, uint64_t expected) {
  return std::string(what) + " " + std::to_string(got) + " (expected " + std::to_string(expected) +
         ")";
}

std::string outside(const char* what, uint64_t got, uint64_t first, uint64_t last) {
  return std::string(what) + " " + std::to_string(got) + " (" + std::to_string(first) + " to " +
         std::to_string(last) + " is possible)";
}

template <typename T, size_t N>
bool all_zero(const T (&array)[N]) {
  return std::all_of(std::begin(array), std::end(array), [](T value) { return value == 0; });
}

// The packet need not be aligned as the message is. Its size has been checked.
template <typename T>
T copy_of(Packet packet) {
  T message;
  std::memcpy(&message, packet.data(), sizeof message);
  return message;
}

Result<Header> decode_header(Packet packet, size_t descriptors) {
  if (packet.size() < sizeof(Header)) {
    return fail(EPROTO,
                "message of " + std::to_string(packet.size()) + " bytes, less than a header");
  }
  auto header = copy_of<Header>(packet);
  if (header.magic != protocol::kMagic) return fail(EPROTO, "message without the magic number");
  if (header.version != protocol::kVersion) {
    return fail(EPROTO, unlike("protocol version", header.version, protocol::kVersion) +
                            ": shim, command and daemon are of different releases");
  }
  auto shape = shape_of(header.kind);
  if (!shape) {
    return fail(EPROTO, "kind " + std::to_string(static_cast<unsigned>(header.kind)) +
                            " is not one that the daemon answers");
  }
  if (packet.size() != shape->size) {
    return fail(EPROTO, unlike("message of size", packet.size(), shape->size));
  }
  if (header.size != shape->size) {
    return fail(EPROTO, unlike("header with size", header.size, shape->size));
  }
  if (header.reserved != 0) return fail(EPROTO, "header with a reserved field that is not 0");
  if (descriptors != shape->descriptors) {
    return fail(EPROTO, unlike("number of descriptors", descriptors, shape->descriptors));
  }
  return header;
}

Result<void> check_seat(const Wanted& wanted) {
  if ((wanted.flags & protocol::kElastic) != 0) {
    // The daemon finds both.
    if (wanted.total != 0) return fail(EINVAL, "total given together with auto");
    if (wanted.instance != kAnyInstance) return fail(EINVAL, "instance given together with auto");
    return {};
  }
  if (wanted.total < 1 || wanted.total > kMaxTotal) {
    return fail(EINVAL, outside("total", wanted.total, 1, kMaxTotal));
  }
  if (wanted.instance >= wanted.total && wanted.instance != kAnyInstance) {
    return fail(EINVAL, outside("instance", wanted.instance, 0, wanted.total - 1));
  }
  return {};
}

Result<void> check_policy(const Wanted& wanted) {
  if (wanted.weight < 1 || wanted.weight > kMaxWeight) {
    return fail(EINVAL, outside("weight", wanted.weight, 1, kMaxWeight));
  }
  if (wanted.mode >= kModeCount) {
    return fail(EINVAL, outside("mode", wanted.mode, 0, kModeCount - 1));
  }
  if (wanted.vacancy >= kVacancyCount) {
    return fail(EINVAL, outside("vacancy", wanted.vacancy, 0, kVacancyCount - 1));
  }
  if (wanted.conflict >= kConflictCount) {
    return fail(EINVAL, outside("conflict", wanted.conflict, 0, kConflictCount - 1));
  }
  return {};
}

Result<void> check_wanted(const Wanted& wanted, bool reserved_is_zero, const char* what) {
  if (!reserved_is_zero || (wanted.flags & ~kKnownFlags) != 0) {
    return fail(EPROTO, std::string(what) + " with a reserved field or flag that is not 0");
  }
  if (wanted.lineage == 0) return fail(EPROTO, std::string(what) + " without a lineage");
  if (auto good = check_seat(wanted); !good) return fail(std::move(good.error()), what);
  if (auto good = check_policy(wanted); !good) return fail(std::move(good.error()), what);
  return {};
}

Result<Message> check(const protocol::Register& message) {
  const bool reserved_is_zero = all_zero(message.reserved);
  if (auto good = check_wanted(message.wanted, reserved_is_zero, "registration"); !good)
    return tl::unexpected(std::move(good.error()));
  return message;
}

Result<Message> check(const protocol::Reclaim& message) {
  const bool reserved_is_zero = message.reserved0 == 0 && all_zero(message.reserved);
  if (auto good = check_wanted(message.wanted, reserved_is_zero, "reclaim"); !good)
    return tl::unexpected(std::move(good.error()));
  if (message.port == 0) return fail(EINVAL, "reclaim of no port");
  return message;
}

Result<Message> check(const protocol::OfSocket& message) {
  constexpr uint32_t kOfLeave = protocol::kParked | protocol::kLastOnly;
  const uint32_t known = message.header.kind == Kind::Leave ? kOfLeave : 0;
  if ((message.flags & ~known) != 0 || message.flags == kOfLeave || message.reserved0 != 0 ||
      !all_zero(message.reserved)) {
    return fail(EPROTO, "message with a reserved field or flag that is not 0");
  }
  return message;
}

// Status, Follow.
template <typename T>
Result<Message> check(const T& message) {
  if (!all_zero(message.reserved)) {
    return fail(EPROTO, "message with a reserved field that is not 0");
  }
  return message;
}

// Printable, at least one character, and nothing behind the terminator: the text goes to logs and
// terminals, and what follows it may have a meaning some day.
bool is_group_id(const char (&group)[sizeof Change::group]) {
  const char* end = std::find(std::begin(group), std::end(group), '\0');
  auto is_graphic = [](char c) { return c > ' ' && c <= '~'; };
  return end != std::begin(group) && end != std::end(group) &&
         std::all_of(std::begin(group), end, is_graphic) &&
         std::all_of(end, std::end(group), [](char c) { return c == '\0'; });
}

Result<void> check_value(const Change& message) {
  switch (message.verb) {
    case Verb::Weight:
      if (message.value >= 1 && message.value <= kMaxWeight) return {};
      return fail(EINVAL, outside("weight", message.value, 1, kMaxWeight));
    case Verb::SetMode:
      if (message.value < kModeCount) return {};
      return fail(EINVAL, outside("mode", message.value, 0, kModeCount - 1));
    case Verb::Drain:
    case Verb::Resume:
    case Verb::Activate:
    case Verb::Abandon:
    case Verb::Release:
      if (message.value == 0) return {};
      return fail(EINVAL, unlike("value", message.value, 0));
  }
  return fail(EPROTO,
              outside("verb", static_cast<unsigned>(message.verb),
                      static_cast<unsigned>(Verb::Drain), static_cast<unsigned>(Verb::Release)));
}

Result<void> check_instance(const Change& message) {
  if (message.instance == Change::kAll) return {};
  bool of_group = message.verb == Verb::SetMode || message.verb == Verb::Activate ||
                  message.verb == Verb::Abandon;
  if (of_group) return fail(EINVAL, "one instance given for what changes the whole group");
  if (message.instance < kMaxTotal) return {};
  return fail(EINVAL, outside("instance", message.instance, 0, kMaxTotal - 1));
}

Result<Message> check(const Change& message) {
  if (message.reserved0 != 0 || message.reserved1 != 0 || !all_zero(message.reserved2)) {
    return fail(EPROTO, "change with a reserved field that is not 0");
  }
  if (!is_group_id(message.group)) return fail(EPROTO, "change of a group that is not a name");
  if (auto good = check_value(message); !good) return fail(std::move(good.error()), "change");
  if (auto good = check_instance(message); !good) return fail(std::move(good.error()), "change");
  return message;
}

}  // namespace

Result<Message> decode(Packet packet, size_t descriptors) {
  auto header = decode_header(packet, descriptors);
  if (!header) return tl::unexpected(std::move(header.error()));
  switch (header->kind) {
    case Kind::Register:
      return check(copy_of<protocol::Register>(packet));
    case Kind::Reclaim:
      return check(copy_of<protocol::Reclaim>(packet));
    case Kind::Leave:
    case Kind::Query:
      return check(copy_of<protocol::OfSocket>(packet));
    case Kind::Status:
      return check(copy_of<protocol::Status>(packet));
    case Kind::Change:
      return check(copy_of<Change>(packet));
    default:
      return check(copy_of<protocol::Follow>(packet));
  }
}

}  // namespace subset::control
