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
  std::string context;  // one line: what was being done, to what, and why it failed

  const std::string& message() const { return context; }
};

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

// `return fail(EBUSY, "...")`: the text says it all.
inline tl::unexpected<Error> fail(int code, std::string text) {
  return tl::unexpected<Error>(Error{code, std::move(text)});
}
// What the system said: "doing: strerror(code)".
inline tl::unexpected<Error> fail_system(int code, const std::string& doing) {
  return fail(code, doing + ": " + std::strerror(code));
}
// The same, right after the call that failed.
inline tl::unexpected<Error> fail_errno(const std::string& doing) {
  return fail_system(errno, doing);
}
// Passes an error on with more context in front.
inline tl::unexpected<Error> fail(Error error, std::string_view context) {
  error.context = std::string(context) + ": " + error.context;
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace subset
