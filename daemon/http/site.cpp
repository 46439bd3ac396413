// SPDX-License-Identifier: MIT
#include "daemon/http/site.h"

#include <algorithm>

#include "daemon/http/assets.h"

namespace subset::http {
namespace {

constexpr std::string_view kJson = "application/json";

Response text_of(std::string_view type, observe::TextPtr text) {
  Response response;
  response.type = type;
  response.body = Body(std::move(text));
  return response;
}

Response plain(unsigned status, std::string_view text) {
  Response response;
  response.status = status;
  response.body = Body(text);
  return response;
}

Response asset_of(const Asset& asset) {
  Response response;
  response.type = asset.type;
  response.etag = asset.etag;
  response.body = Body(asset.bytes);
  return response;
}

}  // namespace

Response Site::get(const Request& request) {
  const std::string_view path = request.path;
  const auto all = assets();
  const auto asset = std::ranges::find(all, path, &Asset::path);
  if (asset != all.end()) return asset_of(*asset);
  if (path == "/healthz") return plain(200, "ok\n");
  if (path == "/api/v1/groups")
    return text_of(kJson, sampler_.recent_text("groups", observe::to_json));
  return plain(404, "there is nothing here; / shows what there is\n");
}

}  // namespace subset::http
