// SPDX-License-Identifier: MIT
#include "ctl/run_plan.h"

#include <algorithm>
#include <cstdio>

namespace subset::ctl {
namespace {

bool names(std::string_view assignment, std::string_view name) {
  return assignment.size() > name.size() && assignment[name.size()] == '=' &&
         assignment.substr(0, name.size()) == name;
}

const char* look_up(void* context, const char* name) {
  const auto* environment = static_cast<const Environment*>(context);
  auto value = find_variable(*environment, name);
  return value ? value->data() : nullptr;  // the end of a std::string: NUL-terminated
}

// {i} and {n}, where they have values; nullopt where one is used that has none.
struct Placeholders {
  std::optional<uint32_t> instance, total;
};

std::optional<std::string> replace_placeholders(std::string_view text, const Placeholders& values) {
  std::string result;
  while (!text.empty()) {
    bool is_instance = text.starts_with("{i}");
    if (is_instance || text.starts_with("{n}")) {
      auto value = is_instance ? values.instance : values.total;
      if (!value) return std::nullopt;
      result += std::to_string(*value);
      text.remove_prefix(3);
    } else {
      result += text.front();
      text.remove_prefix(1);
    }
  }
  return result;
}

Error open_placeholder(const std::string& argument, const std::string& share) {
  return Error{0, "'" + argument + "' needs what " + share +
                      " leaves open: use I/N, or take {i} and {n} out of the command"};
}

Placeholders placeholders_of(const shim::Settings& settings) {
  Placeholders values;
  if (!settings.elastic) values.total = settings.total;
  if (settings.instance != kAnyInstance) values.instance = settings.instance;
  return values;
}

Environment environment_of(const Launch& launch, const std::string& share, uint64_t lineage) {
  Environment environment = launch.environment;
  for (const std::string& assignment : variables_of(launch.steering)) {
    size_t equals = assignment.find('=');
    set_variable(environment, assignment.substr(0, equals), assignment.substr(equals + 1));
  }
  set_variable(environment, "SUBSET", share);
  char id[17];
  std::snprintf(id, sizeof id, "%016llx", static_cast<unsigned long long>(lineage));
  set_variable(environment, "SUBSET_LINEAGE", id);
  set_variable(environment, "LD_PRELOAD",
               preload_with(find_variable(environment, "LD_PRELOAD").value_or(""), launch.shim));
  return environment;
}

}  // namespace

std::optional<std::string_view> find_variable(const Environment& environment,
                                              std::string_view name) {
  for (const std::string& assignment : environment)
    if (names(assignment, name)) return std::string_view(assignment).substr(name.size() + 1);
  return std::nullopt;
}

void set_variable(Environment& environment, std::string_view name, std::string_view value) {
  std::string assignment(name);
  assignment.append("=").append(value);
  std::erase_if(environment, [&](const std::string& each) { return names(each, name); });
  environment.push_back(std::move(assignment));
}

Environment variables_of(const Steering& steering) {
  Environment variables;
  for (const SteeringOption& option : kSteeringOptions)
    if (const auto& value = steering.*option.value)
      set_variable(variables, option.variable, *value);
  return variables;
}

tl::expected<shim::Settings, BadVariable> settings_of(const Environment& environment) {
  shim::Settings settings;
  // Lookup carries no const, as it also serves getenv; look_up() changes nothing.
  shim::Refusal refusal =
      shim::read_settings(look_up, const_cast<Environment*>(&environment), settings);
  if (refusal.variable == nullptr) return settings;
  return tl::make_unexpected(BadVariable{refusal.variable, refusal.value ? refusal.value : "",
                                         refusal.expected ? refusal.expected : "another value"});
}

Error error_of(const BadVariable& bad) {
  return Error{0, bad.variable + "=" + bad.value + " in the environment: expected " + bad.expected};
}

Result<Start> plan_start(const Launch& launch, const std::string& share, uint64_t lineage) {
  Start start{.arguments = {}, .environment = environment_of(launch, share, lineage)};
  auto settings = settings_of(start.environment);
  if (!settings) return tl::make_unexpected(error_of(settings.error()));
  Placeholders values = placeholders_of(*settings);
  for (const std::string& argument : launch.command) {
    auto replaced = replace_placeholders(argument, values);
    if (!replaced) return tl::make_unexpected(open_placeholder(argument, share));
    start.arguments.push_back(std::move(*replaced));
  }
  return start;
}

std::string preload_with(std::string_view existing, const std::string& shim) {
  std::string result = shim;
  constexpr std::string_view kSeparators = ": ";  // what ld.so splits the list at
  while (!existing.empty()) {
    size_t end = std::min(existing.find_first_of(kSeparators), existing.size());
    std::string_view entry = existing.substr(0, end);
    if (!entry.empty() && entry != shim) result.append(":").append(entry);
    existing.remove_prefix(std::min(end + 1, existing.size()));
  }
  return result;
}

void silence_fallback_warnings(Environment& environment) {
  if (!find_variable(environment, "SUBSET_LOG")) set_variable(environment, "SUBSET_LOG", "error");
}

}  // namespace subset::ctl
