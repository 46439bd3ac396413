// SPDX-License-Identifier: MIT
#include "daemon/control/decode.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "protocol/policy.h"

using namespace subset::protocol;
using subset::control::decode;

namespace {

template <typename T>
std::span<const std::byte> bytes(const T& message) {
  return std::as_bytes(std::span(&message, 1));
}

template <typename T>
int error_of(const T& message, size_t descriptors) {
  auto result = decode(bytes(message), descriptors);
  if (result) return 0;
  CHECK_FALSE(result.error().context.empty());
  CHECK(result.error().context.find('\n') == std::string::npos);
  return result.error().code;
}

constexpr Wanted kGoodWanted{
    .lineage = 7, .total = 8, .instance = 3, .weight = subset::kDefaultWeight};

Register good_register() {
  Register message;
  message.wanted = kGoodWanted;
  return message;
}

Reclaim good_reclaim() {
  Reclaim message;
  message.wanted = kGoodWanted;
  message.port = 53;
  return message;
}

OfSocket of_socket(Kind kind) {
  OfSocket message;
  message.header.kind = kind;
  return message;
}

Change good_change(Verb verb) {
  Change message;
  message.verb = verb;
  if (verb == Verb::Weight) message.value = 10;
  std::strcpy(message.group, "udp/[::1]:53@4026531833");
  return message;
}

// A good message with one thing changed.
template <typename T, typename Alter>
int altered_error(T message, Alter alter, size_t descriptors) {
  alter(message);
  return error_of(message, descriptors);
}

constexpr Verb kVerbs[] = {Verb::Drain,    Verb::Resume,  Verb::Weight, Verb::SetMode,
                           Verb::Activate, Verb::Abandon, Verb::Release};

}  // namespace

TEST_CASE("good messages come through whole") {
  auto message = good_register();
  auto decoded = decode(bytes(message), 1);
  REQUIRE(decoded);
  REQUIRE(std::holds_alternative<Register>(*decoded));
  CHECK(std::memcmp(&std::get<Register>(*decoded), &message, sizeof message) == 0);

  auto reclaim = good_reclaim();
  auto asked = decode(bytes(reclaim), 1);
  REQUIRE(asked);
  REQUIRE(std::holds_alternative<Reclaim>(*asked));
  CHECK(std::memcmp(&std::get<Reclaim>(*asked), &reclaim, sizeof reclaim) == 0);
  auto leave = decode(bytes(of_socket(Kind::Leave)), 1);
  REQUIRE(leave);
  CHECK(std::get<OfSocket>(*leave).header.kind == Kind::Leave);
  auto parked = of_socket(Kind::Leave);
  parked.flags = subset::protocol::kParked;
  auto parks = decode(bytes(parked), 1);
  REQUIRE(parks);
  CHECK(std::get<OfSocket>(*parks).flags == subset::protocol::kParked);
  auto closed = of_socket(Kind::Leave);
  closed.flags = subset::protocol::kLastOnly;
  auto closes = decode(bytes(closed), 1);
  REQUIRE(closes);
  CHECK(std::get<OfSocket>(*closes).flags == subset::protocol::kLastOnly);
  auto query = decode(bytes(of_socket(Kind::Query)), 1);
  REQUIRE(query);
  CHECK(std::get<OfSocket>(*query).header.kind == Kind::Query);
  auto status = decode(bytes(Status{}), 0);
  REQUIRE(status);
  CHECK(std::holds_alternative<Status>(*status));
  auto follow = decode(bytes(Follow{}), 0);
  REQUIRE(follow);
  CHECK(std::holds_alternative<Follow>(*follow));
  for (Verb verb : kVerbs) {
    auto change = decode(bytes(good_change(verb)), 0);
    REQUIRE(change);
    CHECK(std::get<Change>(*change).verb == verb);
  }
}

TEST_CASE("a packet need not be aligned") {
  std::vector<std::byte> room(sizeof(Register) + 1);
  auto message = good_register();
  std::memcpy(room.data() + 1, &message, sizeof message);
  CHECK(decode(std::span(room).subspan(1), 1));
}

TEST_CASE("every size but the right one is refused") {
  auto message = good_register();
  std::vector<std::byte> room(kMaxMessage + 1);
  std::memcpy(room.data(), &message, sizeof message);
  for (size_t size = 0; size <= room.size(); ++size) {
    auto result = decode(std::span(room).first(size), 1);
    CHECK(result.has_value() == (size == sizeof message));
    if (!result) CHECK(result.error().code == EPROTO);
  }
}

TEST_CASE("the header is exact") {
  auto error = [](auto alter) { return altered_error(good_register(), alter, 1); };
  CHECK(error([](Register&) {}) == 0);
  CHECK(error([](Register& m) { m.header.magic = 0; }) == EPROTO);
  CHECK(error([](Register& m) { m.header.version = 0; }) == EPROTO);
  CHECK(error([](Register& m) { m.header.version = kVersion + 1; }) == EPROTO);
  CHECK(error([](Register& m) { m.header.size = 0; }) == EPROTO);
  CHECK(error([](Register& m) { ++m.header.size; }) == EPROTO);
  CHECK(error([](Register& m) { m.header.reserved = 1; }) == EPROTO);
  for (auto kind : {Kind{}, Kind::Leave, Kind::Status, Kind::Change, Kind::Reply, Kind::Document,
                    Kind::Event, Kind::Reclaim, Kind{8}, Kind{0xffff}}) {
    CHECK(error([&](Register& m) { m.header.kind = kind; }) == EPROTO);
  }
}

TEST_CASE("the daemon's own kinds are not for peers to send") {
  CHECK(error_of(Reply{}, 0) == EPROTO);
  CHECK(error_of(Document{}, 1) == EPROTO);
  CHECK(error_of(Event{}, 0) == EPROTO);
}

TEST_CASE("the number of descriptors is exact") {
  for (size_t count : {0, 1, 2, 3, 253}) {
    int of_one = count == 1 ? 0 : EPROTO;
    int of_none = count == 0 ? 0 : EPROTO;
    CHECK(error_of(good_register(), count) == of_one);
    CHECK(error_of(good_reclaim(), count) == of_one);
    CHECK(error_of(of_socket(Kind::Leave), count) == of_one);
    CHECK(error_of(of_socket(Kind::Query), count) == of_one);
    CHECK(error_of(Status{}, count) == of_none);
    CHECK(error_of(Follow{}, count) == of_none);
    CHECK(error_of(good_change(Verb::Drain), count) == of_none);
  }
}

TEST_CASE("a registration's fields") {
  auto error = [](auto alter) { return altered_error(good_register(), alter, 1); };
  CHECK(error([](Register& m) { m.wanted.lineage = 0; }) == EPROTO);
  CHECK(error([](Register& m) { m.wanted.total = 0; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.total = subset::kMaxTotal; }) == 0);
  CHECK(error([](Register& m) { m.wanted.total = subset::kMaxTotal + 1; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.instance = m.wanted.total - 1; }) == 0);
  CHECK(error([](Register& m) { m.wanted.instance = m.wanted.total; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.instance = subset::kAnyInstance; }) == 0);
  CHECK(error([](Register& m) { m.wanted.instance = subset::kAnyInstance - 1; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.weight = 0; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.weight = subset::kMaxWeight; }) == 0);
  CHECK(error([](Register& m) { m.wanted.weight = subset::kMaxWeight + 1; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.mode = subset::kModeCount - 1; }) == 0);
  CHECK(error([](Register& m) { m.wanted.mode = subset::kModeCount; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.vacancy = subset::kVacancyCount - 1; }) == 0);
  CHECK(error([](Register& m) { m.wanted.vacancy = subset::kVacancyCount; }) == EINVAL);
  CHECK(error([](Register& m) { m.wanted.conflict = subset::kConflictCount - 1; }) == 0);
  CHECK(error([](Register& m) { m.wanted.conflict = subset::kConflictCount; }) == EINVAL);
  for (size_t reserved : {0, 1, 2, 3}) {
    CHECK(error([&](Register& m) { m.reserved[reserved] = 1ull << 63; }) == EPROTO);
  }
}

TEST_CASE("a reclaim's fields are a registration's, and an address") {
  auto error = [](auto alter) { return altered_error(good_reclaim(), alter, 1); };
  CHECK(error([](Reclaim& m) { m.wanted.lineage = 0; }) == EPROTO);
  CHECK(error([](Reclaim& m) { m.wanted.total = 0; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.instance = m.wanted.total; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.weight = 0; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.mode = subset::kModeCount; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.vacancy = subset::kVacancyCount; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.conflict = subset::kConflictCount; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.wanted.flags = 1u << 7; }) == EPROTO);
  CHECK(error([](Reclaim& m) { m.port = 0; }) == EINVAL);
  CHECK(error([](Reclaim& m) { m.port = 65535; }) == 0);
  CHECK(error([](Reclaim& m) { m.scope = 4; }) == 0);
  CHECK(error([](Reclaim& m) { m.reserved0 = 1; }) == EPROTO);
  for (size_t i : {0, 1}) CHECK(error([&](Reclaim& m) { m.reserved[i] = 1; }) == EPROTO);
}

TEST_CASE("a registration's flags: known bits only") {
  auto error = [](auto alter) { return altered_error(good_register(), alter, 1); };
  for (uint8_t flag :
       {kModeGiven, kVacancyGiven, kMustJoin, kWeightGiven, subset::protocol::kTellsUse}) {
    CHECK(error([&](Register& m) { m.wanted.flags = flag; }) == 0);
  }
  for (unsigned bit = 6; bit < 8; ++bit) {
    CHECK(error([&](Register& m) { m.wanted.flags = static_cast<uint8_t>(1u << bit); }) == EPROTO);
  }
}

TEST_CASE("an elastic registration has neither total nor instance") {
  auto error = [](uint32_t total, uint32_t instance) {
    auto message = good_register();
    message.wanted.flags = kElastic;
    message.wanted.total = total;
    message.wanted.instance = instance;
    return error_of(message, 1);
  };
  CHECK(error(0, subset::kAnyInstance) == 0);
  CHECK(error(8, subset::kAnyInstance) == EINVAL);
  CHECK(error(0, 0) == EINVAL);
}

TEST_CASE("reserved fields of the small messages") {
  for (Kind kind : {Kind::Leave, Kind::Query}) {
    const auto error = [&](auto alter) { return altered_error(of_socket(kind), alter, 1); };
    CHECK(error([](OfSocket& m) { m.flags = 4; }) == EPROTO);
    CHECK(error([](OfSocket& m) { m.flags = 3; }) == EPROTO);
    CHECK(error([](OfSocket& m) { m.reserved0 = 1; }) == EPROTO);
    CHECK(error([](OfSocket& m) { m.reserved[0] = 1; }) == EPROTO);
  }
  auto query = of_socket(Kind::Query);
  for (uint32_t flag : {subset::protocol::kParked, subset::protocol::kLastOnly}) {
    query.flags = flag;  // which is for those that leave
    CHECK(error_of(query, 1) == EPROTO);
  }
  for (size_t i : {0, 1}) {
    Status status;
    status.reserved[i] = 1;
    CHECK(error_of(status, 0) == EPROTO);
    Follow follow;
    follow.reserved[i] = 1;
    CHECK(error_of(follow, 0) == EPROTO);
  }
}

TEST_CASE("a change's fields") {
  auto error = [](Verb verb, auto alter) { return altered_error(good_change(verb), alter, 0); };
  CHECK(error(Verb::Drain, [](Change& m) { m.verb = Verb{0}; }) == EPROTO);
  CHECK(error(Verb::Drain, [](Change& m) { m.verb = Verb{8}; }) == EPROTO);
  CHECK(error(Verb::Drain, [](Change& m) { m.reserved0 = 1; }) == EPROTO);
  CHECK(error(Verb::Drain, [](Change& m) { m.reserved1 = 1; }) == EPROTO);
  CHECK(error(Verb::Drain, [](Change& m) { m.reserved2[1] = 1; }) == EPROTO);
  CHECK(error(Verb::Drain, [](Change& m) { m.value = 1; }) == EINVAL);
  CHECK(error(Verb::Weight, [](Change& m) { m.value = 0; }) == EINVAL);
  CHECK(error(Verb::Weight, [](Change& m) { m.value = subset::kMaxWeight; }) == 0);
  CHECK(error(Verb::Weight, [](Change& m) { m.value = subset::kMaxWeight + 1; }) == EINVAL);
  CHECK(error(Verb::SetMode, [](Change& m) { m.value = subset::kModeCount - 1; }) == 0);
  CHECK(error(Verb::SetMode, [](Change& m) { m.value = subset::kModeCount; }) == EINVAL);
}

TEST_CASE("a change's instance: of those that a group may have, and where one makes sense") {
  auto error = [](Verb verb, uint32_t instance) {
    auto message = good_change(verb);
    message.instance = instance;
    return error_of(message, 0);
  };
  for (Verb verb : {Verb::Drain, Verb::Resume, Verb::Weight, Verb::Release}) {
    CHECK(error(verb, 0) == 0);
    CHECK(error(verb, subset::kMaxTotal - 1) == 0);
    CHECK(error(verb, subset::kMaxTotal) == EINVAL);
  }
  for (Verb verb : {Verb::SetMode, Verb::Activate, Verb::Abandon}) CHECK(error(verb, 0) == EINVAL);
}

TEST_CASE("a change's group is a printable, terminated name with nothing behind it") {
  auto error = [](std::string_view text) {
    auto message = good_change(Verb::Drain);
    std::fill(std::begin(message.group), std::end(message.group), '\0');
    std::copy(text.begin(), text.end(), message.group);
    return error_of(message, 0);
  };
  constexpr size_t kRoom = sizeof Change::group;
  CHECK(error(std::string(kRoom - 1, 'x')) == 0);
  CHECK(error(std::string(kRoom, 'x')) == EPROTO);
  CHECK(error("") == EPROTO);
  CHECK(error("udp/1.2.3.4:53\n") == EPROTO);
  CHECK(error("udp 53") == EPROTO);
  CHECK(error("\x1b[2J") == EPROTO);
  CHECK(error("\xc3\xa4") == EPROTO);
  CHECK(error(std::string_view("a\0b", 3)) == EPROTO);
}

TEST_CASE("one flipped bit: what is still accepted differs in a value, never in the form") {
  const auto message = good_register();
  for (size_t bit = 0; bit < sizeof message * 8; ++bit) {
    auto copy = message;
    auto* raw = reinterpret_cast<unsigned char*>(&copy);
    raw[bit / 8] = static_cast<unsigned char>(raw[bit / 8] ^ (1u << (bit % 8)));
    if (!decode(bytes(copy), 1)) continue;
    CHECK(std::memcmp(&copy.header, &message.header, sizeof copy.header) == 0);
    CHECK(std::memcmp(copy.reserved, message.reserved, sizeof copy.reserved) == 0);
  }
}
