// SPDX-License-Identifier: MIT
// CPU time that a snapshot takes to become metrics and JSON: no kernel, the renderers alone. Prints
// one line of JSON.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/load/thread.h"
#include "daemon/observe/prometheus.h"
#include "daemon/observe/snapshot.h"

namespace {

using namespace subset;
using namespace subset::bench;

struct Options {
  uint32_t groups = 1;
  uint32_t members = 2000;  // of each group
  unsigned runs = 20;
};

observe::MemberView member_of(uint32_t instance) {
  observe::MemberView member;
  member.instance = instance;
  member.pid = static_cast<int32_t>(1000 + instance);
  member.command = "server";
  member.cpus = "0-1";
  member.cookie = 1 + instance;
  member.selected = 1'000'000 + instance;
  member.rate = 1234.5;
  member.queue_limit_bytes = 212992;
  return member;
}

observe::Snapshot full_snapshot(const Options& options) {
  observe::Snapshot snapshot;
  for (uint32_t i = 0; i < options.groups; i++) {
    observe::GroupView group;
    group.port = static_cast<uint16_t>(20000 + i);
    group.address = "127.0.0.1";
    group.id = "udp/127.0.0.1:" + std::to_string(group.port);
    group.total = options.members;
    group.imbalance = 1.02;
    for (uint32_t instance = 0; instance < options.members; instance++) {
      group.members.push_back(member_of(instance));
      group.home += group.members.back().selected;
    }
    snapshot.groups.push_back(std::move(group));
  }
  return snapshot;
}

template <typename Render>
double milliseconds(const Options& options, size_t& bytes, Render render) {
  std::vector<double> spent;
  for (unsigned i = 0; i < options.runs; i++) {
    const uint64_t before = thread_cpu_ns();
    const std::string text = render();
    spent.push_back(static_cast<double>(thread_cpu_ns() - before) / 1e6);
    bytes = text.size();
  }
  std::sort(spent.begin(), spent.end());
  return spent[spent.size() / 2];
}

nlohmann::json run(const Options& options) {
  const observe::Snapshot snapshot = full_snapshot(options);
  size_t metrics = 0;
  size_t document = 0;
  const double metrics_ms =
      milliseconds(options, metrics, [&] { return observe::to_prometheus(snapshot); });
  const double document_ms =
      milliseconds(options, document, [&] { return observe::to_json(snapshot); });
  return {{"metrics_ms", metrics_ms},
          {"metrics_kib", static_cast<double>(metrics) / 1024},
          {"json_ms", document_ms},
          {"json_kib", static_cast<double>(document) / 1024}};
}

}  // namespace

int main(int argc, char** argv) try {
  Options options;
  CLI::App app{"Times what is made of a snapshot and prints it as JSON", "render_cost"};
  app.add_option("--groups", options.groups, "how many")->capture_default_str();
  app.add_option("--members", options.members, "of each group")->capture_default_str();
  app.add_option("--runs", options.runs, "how often")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::puts(run(options).dump().c_str());
  return 0;
} catch (const std::exception& error) {  // of a library, such as no memory
  std::fprintf(stderr, "render_cost: %s\n", error.what());
  return 1;
}
