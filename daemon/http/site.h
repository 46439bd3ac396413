// SPDX-License-Identifier: MIT
// What is served under which path.
#pragma once

#include "daemon/http/server.h"
#include "daemon/observe/sampler.h"

namespace subset::http {

class Site final : public Handler {
 public:
  explicit Site(observe::Sampler& sampler) : sampler_(sampler) {}

  Response get(const Request& request) override;

 private:
  observe::Sampler& sampler_;
};

}  // namespace subset::http
