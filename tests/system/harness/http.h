// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>

#include "tests/system/servers/address.h"

namespace subset::test {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// One GET on a connection of its own, from the network of the calling thread. Throws where nobody
// answers.
HttpAnswer http_get(const Address& server, const std::string& path);

// The samples of a scrape: `name{labels}` -> value.
std::map<std::string, double> scrape(const Address& server);

}  // namespace subset::test
