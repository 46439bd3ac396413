// SPDX-License-Identifier: MIT
#include "ctl/event_line.h"

#include <array>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "ctl/table.h"

namespace subset::ctl {
namespace {

using Json = nlohmann::json;

std::string text(const Json& event, const char* name) {
  auto found = event.find(name);
  return found != event.end() && found->is_string() ? printable(found->get<std::string>()) : "";
}

std::string number(const Json& event, const char* name) {
  auto found = event.find(name);
  return found != event.end() && found->is_number_integer() ? std::to_string(found->get<int64_t>())
                                                            : "";
}

struct Meaning {
  std::string_view event;
  Colour colour;
};
// What somebody may have to do something about is red; what takes traffic away on purpose yellow.
constexpr std::array kMeanings{
    Meaning{"joined", Colour::Green},     Meaning{"resumed", Colour::Green},
    Meaning{"reclaimed", Colour::Green},  Meaning{"took over", Colour::Cyan},
    Meaning{"flipped", Colour::Cyan},     Meaning{"drained", Colour::Yellow},
    Meaning{"held", Colour::Yellow},      Meaning{"released", Colour::Yellow},
    Meaning{"uncounted", Colour::Yellow}, Meaning{"left", Colour::Red},
    Meaning{"stranger", Colour::Red},     Meaning{"foreign", Colour::Red},
    Meaning{"unpinned", Colour::Red},
};

Colour colour_of(std::string_view event) {
  for (const Meaning& meaning : kMeanings)
    if (meaning.event == event) return meaning.colour;
  return Colour::None;
}

// "joined" and "took over" begin what follows in the same column.
std::string padded(std::string text) {
  constexpr size_t kLongest = sizeof "changed mode" - 1;
  if (text.size() < kLongest) text.append(kLongest - text.size(), ' ');
  return text;
}

std::string who(const Json& event) {
  const std::string pid = number(event, "pid");
  std::string command = text(event, "command");
  if (pid.empty()) return command;
  return "pid " + pid + (command.empty() ? "" : " (" + command + ")");
}

}  // namespace

Result<std::string> event_line(const std::string& json, bool colour) {
  const Json event = Json::parse(json, nullptr, false);
  if (!event.is_object()) return fail(0, "an event that is no JSON object: " + printable(json));
  const std::string what = text(event, "event");
  std::string line = text(event, "time") + "  " + painted(padded(what), colour_of(what), colour);
  const std::string instance = number(event, "instance");
  const std::array parts{text(event, "group"), instance.empty() ? "" : "instance " + instance,
                         who(event), text(event, "detail")};
  for (const std::string& part : parts)
    if (!part.empty()) line += "  " + part;
  return line;
}

bool event_concerns(const std::string& json, const std::string& part) {
  const Json event = Json::parse(json, nullptr, false);
  return event.is_object() && text(event, "group").find(part) != std::string::npos;
}

}  // namespace subset::ctl
