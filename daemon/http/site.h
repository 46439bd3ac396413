// SPDX-License-Identifier: MIT
// What is served under which path.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "daemon/http/server.h"
#include "daemon/observe/recent_events.h"
#include "daemon/observe/sampler.h"
#include "daemon/observe/table_view.h"

namespace subset::http {

class Site final : public Handler {
 public:
  // The steering table of a group, by its id.
  using Tables = std::function<std::optional<observe::TableView>(std::string_view)>;

  Site(observe::Sampler& sampler, const observe::RecentEvents& events, Tables tables)
      : sampler_(sampler), events_(events), tables_(std::move(tables)) {}

  Response get(const Request& request) override;

 private:
  Response group(std::string_view id);
  Response table(std::string_view id);
  Response follow(const Request& request) const;

  observe::Sampler& sampler_;
  const observe::RecentEvents& events_;
  Tables tables_;
};

}  // namespace subset::http
