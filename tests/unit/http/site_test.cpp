// SPDX-License-Identifier: MIT
// Which path leads to what; without a server.
#include "daemon/http/site.h"

#include <doctest/doctest.h>

#include "daemon/http/assets.h"

namespace subset::http {
namespace {

observe::Snapshot two_groups() {
  observe::Snapshot snapshot;
  for (const char* id : {"tcp/[::1]:80", "udp/127.0.0.1:53@4026531840"}) {
    observe::GroupView group;
    group.id = id;
    snapshot.groups.push_back(group);
  }
  return snapshot;
}

struct World {
  int looks = 0;
  observe::Sampler sampler{[this] {
    looks++;
    return two_groups();
  }};
  observe::RecentEvents events{"1"};
  Site site{sampler, events, [](std::string_view id) -> std::optional<observe::TableView> {
              if (id != "tcp/[::1]:80") return std::nullopt;
              observe::TableView view;
              view.group = id;
              return view;
            }};

  Response get(std::string_view path) {
    Request request;
    request.path = path;
    return site.get(request);
  }
  std::string first_event(const Request& request) {
    Response response = site.get(request);
    REQUIRE(response.stream);
    return response.stream->next().value_or("cut");
  }
};

TEST_CASE("each path has its type") {
  World world;
  CHECK(world.get("/healthz").body.bytes == "ok\n");
  CHECK(world.get("/api/v1/groups").type == "application/json");
  CHECK(world.get("/metrics").type == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(world.get("/api/v1/events").type == "text/event-stream");
  CHECK(world.get("/").type == "text/html; charset=utf-8");
}

TEST_CASE("groups are found by their id, with all that ids have in them") {
  World world;
  for (const char* id : {"tcp/[::1]:80", "udp/127.0.0.1:53@4026531840"}) {
    const Response response = world.get(std::string("/api/v1/groups/") + id);
    CHECK(response.status == 200);
    CHECK(response.body.bytes.find(std::string("{\"id\":\"") + id) == 0);
  }
  CHECK(world.get("/api/v1/groups/tcp/[::1]:80/table").status == 200);
}

TEST_CASE("what is not there is not found") {
  World world;
  for (const char* path :
       {"", "/nothing", "/api", "/api/v1/groups/", "/api/v1/groupsx", "/api/v1/groups/tcp/[::1]:8",
        "/api/v1/groups/tcp/[::1]:8/table", "/api/v1/groups/table", "/api/v1/groups//table",
        "/../etc/passwd", "/index.html"})
    CHECK_MESSAGE(world.get(path).status == 404, path);
}

TEST_CASE("however many ask, the machine is looked at once") {
  World world;
  for (int i = 0; i < 100; i++) {
    (void)world.get("/metrics");
    (void)world.get("/api/v1/groups");
    (void)world.get("/api/v1/groups/tcp/[::1]:80");
  }
  CHECK(world.looks == 1);
  CHECK(world.get("/metrics").body.bytes.data() == world.get("/metrics").body.bytes.data());
}

TEST_CASE("where a stream of events begins") {
  World world;
  world.events.add("{\"a\":1}");
  world.events.add("{\"b\":2}");
  const std::string greeting = "retry: 1000\n\n";
  Request request;
  request.path = "/api/v1/events";
  CHECK(world.first_event(request) == greeting);
  request.query = "recent";
  CHECK(world.first_event(request) ==
        greeting + "id: 1-1\ndata: {\"a\":1}\n\nid: 1-2\ndata: {\"b\":2}\n\n");
  request.last_event_id = "1-1";
  CHECK(world.first_event(request) == greeting + "id: 1-2\ndata: {\"b\":2}\n\n");
}

TEST_CASE("the page asks no other host, and its files are there") {
  World world;
  for (const Asset& asset : assets()) {
    const Response response = world.get(asset.path);
    CHECK(response.body.bytes == asset.bytes);
    CHECK(response.etag == asset.etag);
    CHECK(!asset.bytes.empty());
    if (asset.path == "/chart.js") continue;  // names its authors' site in a comment
    for (const char* elsewhere : {"src=\"http", "src='http", "href=\"http", "url(http", "//cdn"})
      CHECK_MESSAGE(asset.bytes.find(elsewhere) == std::string_view::npos, asset.path);
  }
}

}  // namespace
}  // namespace subset::http
