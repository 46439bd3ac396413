// SPDX-License-Identifier: MIT
// The files of dashboard/, put into the program when it was built.
#pragma once

#include <span>
#include <string_view>

namespace subset::http {

struct Asset {
  std::string_view path;  // on the server
  std::string_view type;  // Content-Type
  std::string_view etag;  // with its quotes; another one for other bytes
  std::string_view bytes;
};

std::span<const Asset> assets();

}  // namespace subset::http
