// SPDX-License-Identifier: MIT
// What a scrape gets: names, types, labels and numbers. That it is well-formed promtool says, in
// the system test `metrics`.
#include "daemon/observe/prometheus.h"

#include <map>
#include <sstream>

#include <doctest/doctest.h>

namespace subset::observe {
namespace {

Snapshot small() {
  Snapshot snapshot;
  snapshot.figures.version = "1.2.3";
  GroupView group;
  group.id = "udp/[::1]:53";
  group.total = 3;
  group.home = 70;
  group.alternative = 5;
  group.kernel = 2;
  group.refused = 1;
  group.imbalance = 1.25;
  MemberView member;
  member.selected = 75;
  member.queue_bytes = 768;
  member.drops = 4;
  group.members.push_back(member);
  member = {};
  member.instance = 1;
  member.vacant = true;
  member.state = MemberState::Draining;
  member.selected = 9;
  group.members.push_back(member);
  group.strangers.resize(2);
  snapshot.groups.push_back(group);
  return snapshot;
}

// Sample -> value; and of each line of comment the name it is about.
struct Scrape {
  std::map<std::string, std::string> samples;
  std::map<std::string, std::string> types;
  std::map<std::string, int> helps;

  explicit Scrape(const Snapshot& snapshot) {
    std::istringstream text(to_prometheus(snapshot));
    for (std::string line; std::getline(text, line);) {
      std::istringstream words(line);
      std::string mark, kind, name, rest;
      if (line.starts_with("# ")) {
        words >> mark >> kind >> name >> rest;
        if (kind == "TYPE") types[name] = rest;
        if (kind == "HELP") helps[name]++;
        continue;
      }
      const size_t blank = line.rfind(' ');
      REQUIRE_MESSAGE(samples.emplace(line.substr(0, blank), line.substr(blank + 1)).second, line);
    }
  }
  std::string operator[](const std::string& sample) const {
    const auto found = samples.find(sample);
    return found == samples.end() ? "none" : found->second;
  }
};

TEST_CASE("each number is where it belongs") {
  const Scrape scrape(small());
  const std::string member = R"({group="udp/[::1]:53",instance="0",member="0"})";
  CHECK(scrape["subset_selected_total" + member] == "75");
  CHECK(scrape["subset_member_queue_bytes" + member] == "768");
  CHECK(scrape["subset_member_drops_total" + member] == "4");
  const auto outcome = [&](const char* name) {
    return scrape[std::string(R"(subset_selections_total{group="udp/[::1]:53",outcome=")") + name +
                  "\"}"];
  };
  CHECK(outcome("home") == "70");
  CHECK(outcome("alternative") == "5");
  CHECK(outcome("kernel") == "2");
  CHECK(outcome("refused") == "1");
  const std::string group = R"({group="udp/[::1]:53"})";
  CHECK(scrape["subset_group_total" + group] == "3");
  CHECK(scrape["subset_group_active_members" + group] == "1");
  CHECK(scrape["subset_group_active_instances" + group] == "1");
  CHECK(scrape["subset_group_imbalance_ratio" + group] == "1.25");
  CHECK(scrape["subset_strangers" + group] == "2");
  CHECK(scrape["subset_group_foreign" + group] == "0");
  CHECK(scrape["subset_held_members" + group] == "0");
  CHECK(scrape[R"(subset_build_info{version="1.2.3"})"] == "1");
}

// Counts of a seat that nobody holds are part of the sums; a queue is its socket's.
TEST_CASE("vacant seats keep their counters alone") {
  const Scrape scrape(small());
  const std::string vacant = R"({group="udp/[::1]:53",instance="1",member="0"})";
  CHECK(scrape["subset_selected_total" + vacant] == "9");
  CHECK(scrape["subset_member_queue_bytes" + vacant] == "none");
  CHECK(scrape[R"(subset_group_draining_members{group="udp/[::1]:53"})"] == "0");
}

TEST_CASE("before traffic there is no imbalance") {
  Snapshot snapshot = small();
  snapshot.groups[0].imbalance.reset();
  CHECK(Scrape(snapshot)[R"(subset_group_imbalance_ratio{group="udp/[::1]:53"})"] == "none");
}

TEST_CASE("two users' groups with one id are two series") {
  Snapshot snapshot = small();
  snapshot.groups.push_back(snapshot.groups[0]);
  snapshot.groups[1].uid = 1000;
  const Scrape scrape(snapshot);  // refuses to read a sample twice
  CHECK(scrape[R"(subset_group_total{group="udp/[::1]:53",uid="1000"})"] == "3");
}

TEST_CASE("each metric has its type and help") {
  const Scrape scrape(small());
  CHECK(scrape.types.at("subset_selected_total") == "counter");
  CHECK(scrape.types.at("subset_member_queue_bytes") == "gauge");
  CHECK(scrape.types.at("subset_registration_seconds") == "histogram");
  CHECK(scrape.types.at("process_cpu_seconds_total") == "counter");
  for (const auto& each : scrape.types) {
    const auto& [name, type] = each;
    CAPTURE(each.first);  // clang 14 captures no structured binding
    CHECK(scrape.helps.at(name) == 1);
    CHECK((type == "counter") == (name.ends_with("_total") && type != "untyped"));
  }
}

TEST_CASE("the histogram adds up") {
  Snapshot snapshot;
  for (double seconds : {0.00005, 0.0001, 0.003, 0.5, 7.0})
    snapshot.figures.registration_seconds.add(seconds);
  const Scrape scrape(snapshot);
  CHECK(scrape[R"(subset_registration_seconds_bucket{le="0.0001"})"] == "2");
  CHECK(scrape[R"(subset_registration_seconds_bucket{le="0.005"})"] == "3");
  CHECK(scrape[R"(subset_registration_seconds_bucket{le="1"})"] == "4");
  CHECK(scrape[R"(subset_registration_seconds_bucket{le="+Inf"})"] == "5");
  CHECK(scrape["subset_registration_seconds_count"] == "5");
}

TEST_CASE("a process knows itself") {
  const auto figures = read_process_figures();
  REQUIRE(figures);
  CHECK(figures->open_fds >= 3);
  CHECK(figures->max_fds >= figures->open_fds);
  CHECK(figures->resident_bytes > 100'000);
  CHECK(figures->virtual_bytes >= figures->resident_bytes);
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  CHECK(figures->start_time_seconds < now + 1);
  CHECK(figures->start_time_seconds > now - 600);
}

}  // namespace
}  // namespace subset::observe
