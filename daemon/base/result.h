// SPDX-License-Identifier: MIT
// Results that carry errno and what was being done. No exception crosses a thread or a C callback.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace subset {

struct [[nodiscard]] Error {
  int code = 0;         // errno
  std::string context;  // what was being done, to what: "attach the program to udp/[::1]:53"

  // "context: strerror(code)", one line.
  std::string message() const { return code == 0 ? context : context + ": " + std::strerror(code); }
};

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

// `return fail(EBUSY, "...")` or, right after a failed call, `return fail_errno("...")`.
inline tl::unexpected<Error> fail(int code, std::string context) {
  return tl::unexpected<Error>(Error{code, std::move(context)});
}
inline tl::unexpected<Error> fail_errno(std::string context) {
  int code = errno;
  return fail(code, std::move(context));
}
// Passes an error on with more context in front.
inline tl::unexpected<Error> fail(Error error, std::string_view context) {
  error.context = std::string(context) + ": " + error.context;
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace subset
