// SPDX-License-Identifier: MIT
// Any bytes with any number of descriptors: the decoder neither reads past them nor lets through a
// message that the daemon would have to check again.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <variant>

#include "daemon/control/decode.h"
#include "protocol/policy.h"

namespace {

using namespace subset::protocol;

void require(bool condition) {
  if (!condition) std::abort();
}

void look_at(const Wanted& wanted) {
  bool elastic = (wanted.flags & kElastic) != 0;
  require(wanted.lineage != 0);
  require(elastic ? wanted.total == 0 : wanted.total >= 1 && wanted.total <= subset::kMaxTotal);
  require(wanted.instance == subset::kAnyInstance || wanted.instance < wanted.total);
  require(wanted.weight >= 1 && wanted.weight <= subset::kMaxWeight);
  require(wanted.mode < subset::kModeCount);
  require(wanted.vacancy < subset::kVacancyCount);
  require(wanted.conflict < subset::kConflictCount);
}

void look_at(const Register& message) {
  look_at(message.wanted);
}

void look_at(const Reclaim& message) {
  look_at(message.wanted);
  require(message.port != 0 && message.reserved0 == 0);
}

void look_at(const Change& message) {
  size_t length = strnlen(message.group, sizeof message.group);
  require(length > 0 && length < sizeof message.group);
  require(message.verb >= Verb::Drain && message.verb <= Verb::Release);
  require(message.instance == Change::kAll || message.instance < subset::kMaxTotal);
}

void look_at(const OfSocket& message) {
  require(message.header.kind == Kind::Leave || message.header.kind == Kind::Query);
}

void look_at(const Status& message) {
  require(message.header.kind == Kind::Status);
}

void look_at(const Follow& message) {
  require(message.header.kind == Kind::Follow);
}

}  // namespace

// The first byte is the number of descriptors.
// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  auto packet = std::as_bytes(std::span(data + 1, size - 1));
  auto decoded = subset::control::decode(packet, data[0]);
  if (decoded) {
    std::visit([](const auto& message) { look_at(message); }, *decoded);
  } else {
    require(decoded.error().code == EPROTO || decoded.error().code == EINVAL);
    require(!decoded.error().context.empty());
  }
  return 0;
}
