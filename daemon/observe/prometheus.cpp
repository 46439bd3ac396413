// SPDX-License-Identifier: MIT
#include "daemon/observe/prometheus.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace subset::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr size_t kMostLabels = 4;

// One family, filled by value(): which of the fields counts is said once, by the type.
class Family {
 public:
  Family(std::vector<MetricFamily>& all, const char* name, MetricType type, const char* help)
      : all_(all) {
    family_.name = name;
    family_.type = type;
    family_.help = help;
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() { all_.push_back(std::move(family_)); }

  void reserve(size_t samples) { family_.metric.reserve(samples); }

  void value(double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    switch (family_.type) {
      case MetricType::Counter:
        metric.counter.value = value;
        break;
      case MetricType::Gauge:
        metric.gauge.value = value;
        break;
      default:
        metric.untyped.value = value;
        break;
    }
    family_.metric.push_back(std::move(metric));
  }

  void histogram(const DurationHistogram& durations) {
    ClientMetric metric;
    metric.histogram.sample_count = durations.count;
    metric.histogram.sample_sum = durations.sum;
    for (size_t i = 0; i < durations.kBounds.size(); i++)
      metric.histogram.bucket.push_back({durations.at_most[i], durations.kBounds[i]});
    metric.histogram.bucket.push_back({durations.count, std::numeric_limits<double>::infinity()});
    family_.metric.push_back(std::move(metric));
  }

 private:
  std::vector<MetricFamily>& all_;
  MetricFamily family_;
};

// --- groups by name: two users' groups may have one id, and then their user is named too.
// ----------

class Names {
 public:
  explicit Names(const std::vector<GroupView>& groups) {
    for (const GroupView& group : groups) counts_[group.id]++;
  }

  Labels of(const GroupView& group) const {
    Labels labels;
    labels.reserve(kMostLabels);
    labels.push_back({"group", group.id});
    if (counts_.at(group.id) > 1) labels.push_back({"uid", std::to_string(group.uid)});
    return labels;
  }

 private:
  std::map<std::string_view, size_t> counts_;
};

// Adds to the labels that it is given; it does not copy them.
Labels with(Labels&& labels, const char* name, std::string value) {
  labels.push_back({name, std::move(value)});
  return std::move(labels);
}

// --- of each member -----------------------------------------------------------------------------

struct MemberMetric {
  const char* name;
  MetricType type;
  const char* help;
  double (*value)(const MemberView&);
};

constexpr MemberMetric kOfMember[] = {
    {"subset_selected_total", MetricType::Counter,
     "Datagrams or connections that the group's program steered to the member.",
     [](const MemberView& view) { return static_cast<double>(view.selected); }},
    {"subset_migrated_total", MetricType::Counter,
     "Connections that moved to the member when another listener closed.",
     [](const MemberView& view) { return static_cast<double>(view.migrated); }},
    {"subset_member_queue_bytes", MetricType::Gauge,
     "Memory of what waits in the socket's receive queue.",
     [](const MemberView& view) { return static_cast<double>(view.queue_bytes); }},
    {"subset_member_queue_limit_bytes", MetricType::Gauge,
     "Memory that the socket's receive queue may take (SO_RCVBUF).",
     [](const MemberView& view) { return static_cast<double>(view.queue_limit_bytes); }},
    {"subset_member_drops_total", MetricType::Counter,
     "Datagrams that the socket dropped because its queue was full.",
     [](const MemberView& view) { return static_cast<double>(view.drops); }},
    {"subset_member_backlog", MetricType::Gauge, "Connections that wait to be accepted.",
     [](const MemberView& view) { return static_cast<double>(view.backlog); }},
    {"subset_member_backlog_limit", MetricType::Gauge, "Connections that may wait to be accepted.",
     [](const MemberView& view) { return static_cast<double>(view.backlog_limit); }},
    {"subset_member_open_connections", MetricType::Gauge,
     "Connections that came by the member and are open.",
     [](const MemberView& view) { return static_cast<double>(view.open_connections); }},
};

// What was counted at a seat stays when nobody sits there; queues go with their socket.
void add_members(std::vector<MetricFamily>& all, const std::vector<GroupView>& groups,
                 const Names& names) {
  size_t members = 0;
  for (const GroupView& group : groups) members += group.members.size();
  for (const MemberMetric& metric : kOfMember) {
    Family family(all, metric.name, metric.type, metric.help);
    family.reserve(members);
    for (const GroupView& group : groups) {
      for (const MemberView& member : group.members) {
        if (member.vacant && metric.type == MetricType::Gauge) continue;
        family.value(metric.value(member),
                     with(with(names.of(group), "instance", std::to_string(member.instance)),
                          "member", std::to_string(member.member)));
      }
    }
  }
}

// --- of each group ------------------------------------------------------------------------------

struct GroupMetric {
  const char* name;
  MetricType type;
  const char* help;
  std::optional<double> (*value)(const GroupView&);
};

double members_in(const GroupView& group, MemberState state) {
  const auto is_there = [&](const MemberView& member) {
    return !member.vacant && member.state == state;
  };
  return static_cast<double>(std::count_if(group.members.begin(), group.members.end(), is_there));
}

constexpr GroupMetric kOfGroup[] = {
    // For promtool only counters end with _total; untyped, since this is none and its name is
    // given.
    {"subset_group_total", MetricType::Untyped, "Instances that the active generation is made of.",
     [](const GroupView& group) -> std::optional<double> { return group.total; }},
    {"subset_group_active_members", MetricType::Gauge, "Members that get traffic.",
     [](const GroupView& group) -> std::optional<double> {
       return members_in(group, MemberState::Active);
     }},
    {"subset_group_active_instances", MetricType::Gauge,
     "Instances that have a member which gets traffic: subset_group_total less these are missing.",
     [](const GroupView& group) -> std::optional<double> { return active_instances(group); }},
    {"subset_group_pending_members", MetricType::Gauge,
     "Members that wait for their generation to be complete.",
     [](const GroupView& group) -> std::optional<double> {
       return members_in(group, MemberState::Pending);
     }},
    {"subset_group_draining_members", MetricType::Gauge,
     "Members that get nothing new and still read what they have.",
     [](const GroupView& group) -> std::optional<double> {
       return members_in(group, MemberState::Draining);
     }},
    {"subset_held_members", MetricType::Gauge,
     "Members whose socket the daemon keeps while their process is away.",
     [](const GroupView& group) -> std::optional<double> {
       return members_in(group, MemberState::Held);
     }},
    {"subset_group_imbalance_ratio", MetricType::Gauge,
     "Largest over mean of what instances got for their weight since the last change; from 1 on.",
     [](const GroupView& group) { return group.imbalance; }},
    {"subset_group_generation", MetricType::Gauge, "Number of the active generation.",
     [](const GroupView& group) -> std::optional<double> {
       return static_cast<double>(group.generation);
     }},
    {"subset_group_pending_generation", MetricType::Gauge,
     "Number of the pending generation; 0 for none.",
     [](const GroupView& group) -> std::optional<double> {
       return static_cast<double>(group.pending_generation);
     }},
    {"subset_strangers", MetricType::Gauge,
     "Sockets on the group's address that are no members and take its traffic.",
     [](const GroupView& group) -> std::optional<double> {
       return static_cast<double>(group.strangers.size());
     }},
    {"subset_group_foreign", MetricType::Gauge,
     "1 where another program than the daemon's decides who of the group gets what.",
     [](const GroupView& group) -> std::optional<double> { return group.foreign.empty() ? 0 : 1; }},
};

void add_groups(std::vector<MetricFamily>& all, const std::vector<GroupView>& groups,
                const Names& names) {
  for (const GroupMetric& metric : kOfGroup) {
    Family family(all, metric.name, metric.type, metric.help);
    for (const GroupView& group : groups) {
      if (const auto value = metric.value(group)) family.value(*value, names.of(group));
    }
  }
  Family family(all, "subset_selections_total", MetricType::Counter,
                "Selections of the group's program by outcome.");
  for (const GroupView& group : groups) {
    const auto add = [&](const char* outcome, uint64_t count) {
      family.value(static_cast<double>(count), with(names.of(group), "outcome", outcome));
    };
    add("home", group.home);
    add("alternative", group.alternative);
    add("kernel", group.kernel);
    add("refused", group.refused);
  }
}

// --- of the daemon ------------------------------------------------------------------------------

void add_process(std::vector<MetricFamily>& all, const ProcessFigures& process) {
  const auto add = [&](const char* name, MetricType type, const char* help, double value) {
    Family(all, name, type, help).value(value);
  };
  add("process_cpu_seconds_total", MetricType::Counter, "CPU time of the daemon.",
      process.cpu_seconds);
  add("process_start_time_seconds", MetricType::Gauge, "When the daemon started, since 1970.",
      process.start_time_seconds);
  add("process_resident_memory_bytes", MetricType::Gauge, "Memory of the daemon in RAM.",
      static_cast<double>(process.resident_bytes));
  add("process_virtual_memory_bytes", MetricType::Gauge, "Address space of the daemon.",
      static_cast<double>(process.virtual_bytes));
  add("process_open_fds", MetricType::Gauge, "Descriptors that the daemon has open.",
      static_cast<double>(process.open_fds));
  add("process_max_fds", MetricType::Gauge, "Descriptors that the daemon may have open.",
      static_cast<double>(process.max_fds));
}

template <typename Key>
void add_counts(std::vector<MetricFamily>& all, const char* name, const char* label,
                const std::map<Key, uint64_t>& counts, const char* help) {
  Family family(all, name, MetricType::Counter, help);
  for (const auto& [key, count] : counts) {
    std::ostringstream text;
    text << key;
    family.value(static_cast<double>(count), {{label, text.str()}});
  }
}

void add_daemon(std::vector<MetricFamily>& all, const Figures& figures) {
  Family(all, "subset_build_info", MetricType::Gauge, "Which daemon this is; always 1.")
      .value(1, {{"version", figures.version}});
  add_counts(all, "subset_registrations_total", "result", figures.registrations,
             "Registrations of sockets by what came of them; an errno if they were refused.");
  Family(all, "subset_registration_seconds", MetricType::Histogram,
         "From reading a registration to its answer, with which its steering is in force.")
      .histogram(figures.registration_seconds);
  add_counts(all, "subset_control_events_total", "event", figures.control,
             "What happened on the control socket.");
  add_counts(all, "subset_http_responses_total", "status", figures.http_responses,
             "Answers to HTTP requests.");
  Family(all, "subset_http_connections_total", MetricType::Counter, "HTTP connections.")
      .value(static_cast<double>(figures.http_connections));
  Family(all, "subset_http_connections_cut_total", MetricType::Counter,
         "HTTP connections that were closed because they took too long.")
      .value(static_cast<double>(figures.http_cut));
  Family(all, "subset_sample_duration_seconds", MetricType::Gauge,
         "How long it took to collect these figures from the kernel.")
      .value(figures.sample_seconds);
  add_process(all, figures.process);
}

}  // namespace

std::string to_prometheus(const Snapshot& snapshot) {
  std::vector<MetricFamily> families;
  const Names names(snapshot.groups);
  add_groups(families, snapshot.groups, names);
  add_members(families, snapshot.groups, names);
  add_daemon(families, snapshot.figures);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace subset::observe
