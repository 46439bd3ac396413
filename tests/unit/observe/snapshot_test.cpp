// SPDX-License-Identifier: MIT
// The status document keeps its contract, whatever is in the snapshot.
#include "daemon/observe/snapshot.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

namespace subset::observe {
namespace {

using Json = nlohmann::json;
using Adapter = valijson::adapters::NlohmannJsonAdapter;

Json schema_text() {
  const char* path = std::getenv("SUBSET_SCHEMA");
  if (!path) throw std::runtime_error("SUBSET_SCHEMA is not set: run by `meson test`");
  return Json::parse(std::ifstream(path));
}

// The document, checked against the schema.
Json document(const Snapshot& snapshot) {
  static const Json text = schema_text();
  valijson::Schema schema;
  valijson::SchemaParser().populateSchema(Adapter(text), schema);
  Json json = Json::parse(to_json(snapshot));
  valijson::ValidationResults results;
  const bool valid = valijson::Validator().validate(schema, Adapter(json), &results);
  valijson::ValidationResults::Error error;
  std::string errors;
  while (results.popError(error)) errors += error.description + "\n";
  INFO(errors);
  CHECK(valid);
  return json;
}

Snapshot one_member(const MemberView& member) {
  GroupView group;
  group.id = "udp/127.0.0.1:53";
  group.address = "127.0.0.1";
  group.port = 53;
  group.members.push_back(member);
  Snapshot snapshot;
  snapshot.groups.push_back(group);
  return snapshot;
}

Json member_json(const MemberView& member) {
  return document(one_member(member))["groups"][0]["members"][0];
}

TEST_CASE("no groups") {
  CHECK(document({})["groups"].empty());
}

TEST_CASE("every mode, vacancy, protocol and state has a name that the schema knows") {
  for (size_t mode = 0; mode < kModeCount; mode++) {
    for (size_t vacancy = 0; vacancy < kVacancyCount; vacancy++) {
      for (Protocol protocol : {Protocol::Tcp, Protocol::Udp}) {
        Snapshot snapshot = one_member({});
        snapshot.groups[0].mode = static_cast<Mode>(mode);
        snapshot.groups[0].vacancy = static_cast<Vacancy>(vacancy);
        snapshot.groups[0].protocol = protocol;
        const Json group = document(snapshot)["groups"][0];
        CHECK(group["mode"] == kModeNames[mode]);
        CHECK(group["vacancy"] == kVacancyNames[vacancy]);
        CHECK(group["protocol"] == name_of(protocol));
      }
    }
  }
  for (MemberState state :
       {MemberState::Active, MemberState::Pending, MemberState::Draining, MemberState::Held}) {
    MemberView member;
    member.state = state;
    CHECK(member_json(member)["state"] == name_of(state));
  }
}

TEST_CASE("what is not known is null") {
  const Json member = member_json({});
  CHECK(member["pid"].is_null());
  CHECK(member["command"].is_null());
  const Json group = document(one_member({}))["groups"][0];
  CHECK(group["imbalance"].is_null());
}

TEST_CASE("numbers are carried over, to the last bit") {
  MemberView member;
  member.instance = 4095;
  member.member = 7;
  member.pid = 4711;
  member.weight = 1000;
  member.cpus = "0-1,4";
  member.cookie = (uint64_t{1} << 62) + 1;
  member.selected = (uint64_t{1} << 61) + 3;
  member.migrated = 5;
  member.queue_bytes = 6;
  member.queue_limit_bytes = 212992;
  member.drops = 8;
  member.backlog = 9;
  member.backlog_limit = 4096;
  member.open_connections = 10;
  const Json json = member_json(member);
  CHECK(json["instance"] == 4095);
  CHECK(json["member"] == 7);
  CHECK(json["pid"] == 4711);
  CHECK(json["weight"] == 1000);
  CHECK(json["cpus"] == "0-1,4");
  CHECK(json["cookie"] == member.cookie);
  CHECK(json["selected"] == member.selected);
  CHECK(json["migrated"] == 5);
  CHECK(json["queue_bytes"] == 6);
  CHECK(json["queue_limit_bytes"] == 212992);
  CHECK(json["drops"] == 8);
  CHECK(json["backlog"] == 9);
  CHECK(json["backlog_limit"] == 4096);
  CHECK(json["open_connections"] == 10);
}

// A process names itself as it likes; no name may break the document for its readers.
TEST_CASE("odd bytes in a command") {
  const std::string names[] = {"\xff\xfe",     "caf\xc3",        "\x80",
                               "a\"b\\c",      "tab\tnew\nline", std::string("nul\0inside", 10),
                               "\xed\xa0\x80", "caf\xc3\xa9"};
  for (const std::string& name : names) {
    MemberView member;
    member.command = name;
    const Json json = member_json(member);
    CHECK(json["command"].is_string());
  }
  MemberView member;
  member.command = "caf\xc3\xa9";
  CHECK(member_json(member)["command"] == "caf\xc3\xa9");
}

TEST_CASE("strangers are told") {
  Snapshot snapshot = one_member({});
  snapshot.groups[0].strangers.push_back(
      {.pid = 0, .command = "\xff", .cookie = 9, .reason = "it was bound by another user"});
  const Json stranger = document(snapshot)["groups"][0]["strangers"][0];
  CHECK(stranger["pid"].is_null());
  CHECK(stranger["cookie"] == 9);
}

TEST_CASE("a foreign group says who decides") {
  Snapshot snapshot = one_member({});
  CHECK(document(snapshot)["groups"][0]["foreign"] == false);
  snapshot.groups[0].foreign = "somebody else decides";
  const Json group = document(snapshot)["groups"][0];
  CHECK(group["foreign"] == true);
  CHECK(group["foreign_reason"] == "somebody else decides");
}

TEST_CASE("times are in UTC, to the second") {
  CHECK(to_rfc3339(Time{}) == "1970-01-01T00:00:00Z");
  CHECK(to_rfc3339(Time{std::chrono::seconds(1767225600)}) == "2026-01-01T00:00:00Z");
  CHECK(to_rfc3339(Time{std::chrono::milliseconds(1767225600999)}) == "2026-01-01T00:00:00Z");
}

TEST_CASE("imbalance is the largest load over the mean, by weight") {
  CHECK(!imbalance_of({}));
  CHECK(!imbalance_of({{0, 100}, {0, 100}}));
  CHECK(imbalance_of({{10, 100}}) == doctest::Approx(1));
  CHECK(imbalance_of({{10, 100}, {10, 100}}) == doctest::Approx(1));
  CHECK(imbalance_of({{30, 100}, {10, 100}}) == doctest::Approx(1.5));
  CHECK(imbalance_of({{40, 100}, {0, 100}, {0, 100}, {0, 100}}) == doctest::Approx(4));
  // As the weights want it, so that it is even.
  CHECK(imbalance_of({{300, 300}, {100, 100}}) == doctest::Approx(1));
  CHECK(imbalance_of({{100, 300}, {100, 100}}) == doctest::Approx(1.5));
}

TEST_CASE("imbalance never falls below 1, which the schema would refuse") {
  for (uint64_t selected = 1; selected < 2000; selected++)
    CHECK(*imbalance_of({{selected, 7}, {selected, 7}, {selected, 7}}) >= 1);
}

}  // namespace
}  // namespace subset::observe
