// SPDX-License-Identifier: MIT
// libbpf's way to say no, as Result: 1.x returns -errno and sets errno.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::kernel {

// For calls that return 0 or -errno.
inline Result<void> checked(int result, std::string_view doing) {
  if (result < 0) return fail_system(-result, std::string(doing));
  return {};
}

// For calls that return a descriptor or -errno.
inline Result<Fd> checked_fd(int result, std::string_view doing) {
  if (result < 0) return fail_system(-result, std::string(doing));
  return Fd(result);
}

// bpftool's skeletons are freed by a function each.
template <typename Skeleton, void (*Destroy)(Skeleton*)>
struct SkeletonDeleter {
  void operator()(Skeleton* skeleton) const { Destroy(skeleton); }
};

}  // namespace subset::kernel
