// SPDX-License-Identifier: MIT
#include "tests/system/harness/status.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "protocol/message.h"
#include "tests/system/harness/control.h"
#include "tests/system/harness/fail.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/sandbox.h"

namespace subset::test {
namespace {

using Json = nlohmann::json;
using Adapter = valijson::adapters::NlohmannJsonAdapter;

// The library compiles the regular expression of a pattern once, and that of a format for each
// value: one for each member of each status would be most of what a test takes.
void turn_formats_into_patterns(Json& schema) {
  constexpr char kDateTime[] =
      "^[0-9]+-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])[Tt]"
      "([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.][0-9]+)?"
      "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
  if (schema.is_object() && schema.value("format", Json()) == "date-time") {
    schema.erase("format");
    schema["pattern"] = kDateTime;
  }
  if (schema.is_structured())
    for (Json& part : schema) turn_formats_into_patterns(part);
}

const valijson::Schema& schema() {
  static const valijson::Schema* parsed = [] {
    Json text = Json::parse(read_file(source("tests/system/status.schema.json")));
    turn_formats_into_patterns(text);
    auto* result = new valijson::Schema;
    valijson::SchemaParser().populateSchema(Adapter(text), *result);
    return result;
  }();
  return *parsed;
}

std::string describe(valijson::ValidationResults& results) {
  std::string text;
  valijson::ValidationResults::Error error;
  while (results.popError(error)) {
    for (const std::string& step : error.context) text += step;
    text += ": " + error.description + "\n";
  }
  return text;
}

void check_schema(const Json& json) {
  thread_local valijson::Validator validator;  // keeps its expressions
  valijson::ValidationResults results;
  if (validator.validate(schema(), Adapter(json), &results)) return;
  throw std::runtime_error("status breaks its schema:\n" + describe(results) + json.dump(2));
}

MemberStatus parse_member(const Json& json) {
  MemberStatus member;
  json.at("instance").get_to(member.instance);
  json.at("member").get_to(member.member);
  json.at("state").get_to(member.state);
  json.at("cookie").get_to(member.cookie);
  json.at("weight").get_to(member.weight);
  json.at("selected").get_to(member.selected);
  json.at("migrated").get_to(member.migrated);
  json.at("queue_bytes").get_to(member.queue_bytes);
  json.at("queue_limit_bytes").get_to(member.queue_limit_bytes);
  json.at("drops").get_to(member.drops);
  json.at("backlog").get_to(member.backlog);
  json.at("backlog_limit").get_to(member.backlog_limit);
  json.at("open_connections").get_to(member.open_connections);
  if (!json.at("pid").is_null()) member.pid = json.at("pid").get<int>();
  if (!json.at("command").is_null()) json.at("command").get_to(member.command);
  return member;
}

GroupStatus parse_group(const Json& json) {
  GroupStatus group;
  json.at("id").get_to(group.id);
  json.at("netns").get_to(group.netns);
  json.at("uid").get_to(group.uid);
  json.at("mode").get_to(group.mode);
  json.at("total").get_to(group.total);
  json.at("generation").get_to(group.generation);
  const Json& selections = json.at("selections");
  selections.at("home").get_to(group.home);
  selections.at("alternative").get_to(group.alternative);
  selections.at("kernel").get_to(group.kernel);
  selections.at("refused").get_to(group.refused);
  if (json.contains("strangers")) group.strangers = json.at("strangers").size();
  group.foreign = json.value("foreign", false);  // newer than the contract
  for (const Json& member : json.at("members")) group.members.push_back(parse_member(member));
  return group;
}

// Every selection has exactly one outcome, and every one that chose a member is in that member's
// count: at any moment, also while members come and go and while traffic flows.
void check_sum(const GroupStatus& group, const std::string& text) {
  uint64_t sum = 0;
  for (const MemberStatus& member : group.members) sum += member.selected;
  if (sum == group.selected()) return;
  throw std::runtime_error(group.id + ": members were selected " + std::to_string(sum) +
                           " times, home and alternative say " + std::to_string(group.selected()) +
                           "\n" + text);
}

void check_unique_ids(const Document& document) {
  std::set<std::string> ids;
  for (const GroupStatus& group : document.groups) {
    if (!ids.insert(group.id).second) throw std::runtime_error("two groups are called " + group.id);
  }
}

std::string read_all(int fd, size_t bytes) {
  std::string text(bytes, '\0');
  ssize_t got = checked(pread(fd, text.data(), bytes, 0), "read the document");
  if (static_cast<size_t>(got) != bytes) throw std::runtime_error("the document is cut off");
  return text;
}

}  // namespace

size_t GroupStatus::in_state(const std::string& state) const {
  return static_cast<size_t>(std::count_if(members.begin(), members.end(),
                                           [&](const auto& m) { return m.state == state; }));
}

const MemberStatus* GroupStatus::of(uint32_t instance) const {
  auto found = std::find_if(members.begin(), members.end(), [&](const auto& m) {
    return m.instance == instance && m.state == "active";
  });
  return found == members.end() ? nullptr : &*found;
}

const GroupStatus* Document::find(const std::string& id) const {
  auto found =
      std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.id == id; });
  return found == groups.end() ? nullptr : &*found;
}

const GroupStatus* Document::of_user(uint32_t uid) const {
  auto found =
      std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.uid == uid; });
  return found == groups.end() ? nullptr : &*found;
}

const GroupStatus& Document::group(const std::string& id) const {
  if (const GroupStatus* found = find(id)) return *found;
  std::string all;
  for (const GroupStatus& other : groups) all += " " + other.id;
  throw std::runtime_error("no group " + id + ", but:" + all);
}

Document parse_status(const std::string& text) {
  Json json = Json::parse(text);
  check_schema(json);
  Document document;
  for (const Json& group : json.at("groups")) {
    document.groups.push_back(parse_group(group));
    check_sum(document.groups.back(), text);
  }
  check_unique_ids(document);
  return document;
}

Document fetch_status(const std::string& socket_path) {
  Connection connection = Connection::to(socket_path);
  if (!connection.send(bytes_of(protocol::Status{}))) {
    throw HungUp("the daemon hung up before it was asked");
  }
  auto packet = connection.receive();
  if (!packet) throw HungUp("the daemon hung up instead of sending its status");
  auto announced = packet->as<protocol::Document>();
  if (announced.header.kind != protocol::Kind::Document || packet->descriptors.size() != 1) {
    throw std::runtime_error("the daemon sent something else than its status");
  }
  return parse_status(read_all(packet->descriptors.front().get(), announced.bytes));
}

}  // namespace subset::test
