// SPDX-License-Identifier: MIT
#include "daemon/observe/happening.h"

#include <nlohmann/json.hpp>

#include "daemon/observe/snapshot.h"

namespace subset::observe {

std::string to_json(const Happening& happening, Time at) {
  nlohmann::ordered_json json;
  json["time"] = to_rfc3339(at);
  json["event"] = happening.what;
  json["group"] = happening.group;
  if (happening.instance) json["instance"] = *happening.instance;
  if (happening.pid > 0) json["pid"] = happening.pid;
  if (!happening.command.empty()) json["command"] = happening.command;
  if (!happening.detail.empty()) json["detail"] = happening.detail;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace subset::observe
