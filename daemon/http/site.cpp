// SPDX-License-Identifier: MIT
#include "daemon/http/site.h"

#include <algorithm>

#include "daemon/http/assets.h"
#include "daemon/http/event_stream.h"
#include "daemon/observe/prometheus.h"

namespace subset::http {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kGroups = "/api/v1/groups";
constexpr std::string_view kTable = "/table";

Response text_of(std::string_view type, observe::TextPtr text) {
  Response response;
  response.type = type;
  response.body = Body(std::move(text));
  return response;
}

Response asset_of(const Asset& asset) {
  Response response;
  response.type = asset.type;
  response.etag = asset.etag;
  response.body = Body(asset.bytes);
  return response;
}

Response no_such_group() {
  return plain(404, "there is no such group; /api/v1/groups lists them\n");
}

}  // namespace

Response Site::get(const Request& request) {
  const std::string_view path = request.path;
  const auto all = assets();
  const auto asset = std::ranges::find(all, path, &Asset::path);
  if (asset != all.end()) return asset_of(*asset);
  if (path == "/healthz") return plain(200, "ok\n");
  if (path == "/metrics")
    return text_of(observe::kPrometheusType,
                   sampler_.recent_text("metrics", observe::to_prometheus));
  if (path == "/api/v1/events") return follow(request);
  if (path == kGroups) {
    const auto render = [](const observe::Snapshot& snapshot) { return to_json(snapshot); };
    return text_of(kJson, sampler_.recent_text("groups", render));
  }
  if (!path.starts_with(kGroups) || path[kGroups.size()] != '/')
    return plain(404, "there is nothing here; / shows what there is\n");
  // Ids have slashes of their own, but none ends in /table.
  const std::string_view id = path.substr(kGroups.size() + 1);
  return id.ends_with(kTable) ? table(id.substr(0, id.size() - kTable.size())) : group(id);
}

// Only what exists is rendered and kept: ids come from strangers.
Response Site::group(std::string_view id) {
  if (!sampler_.recent()->find(id)) return no_such_group();
  return text_of(kJson, sampler_.recent_text("group " + std::string(id),
                                             [&](const observe::Snapshot& snapshot) {
                                               return to_json(*snapshot.find(id));
                                             }));
}

Response Site::table(std::string_view id) {
  const auto view = tables_(id);
  if (!view) return no_such_group();
  return text_of(kJson,
                 sampler_.recent_text("table " + std::string(id),
                                      [&](const observe::Snapshot&) { return to_json(*view); }));
}

// From now on; ?recent: from the oldest that is known; a client that comes back: from where it was.
Response Site::follow(const Request& request) const {
  uint64_t first = events_.newest() + 1;
  if (!request.last_event_id.empty())
    first = events_.first_after(request.last_event_id);
  else if (request.query == "recent")
    first = events_.oldest();
  Response response;
  response.type = "text/event-stream";
  response.stream = std::make_unique<EventStream>(events_, first);
  return response;
}

}  // namespace subset::http
