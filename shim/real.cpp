// SPDX-License-Identifier: MIT
#include "shim/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace subset::shim::real {

template <typename... Arguments>
static int missing(Arguments...) {
  errno = ENOSYS;
  return -1;
}

#define INTERPOSE(type, name, exceptions, parameters, arguments, direct) \
  static type name##_direct parameters {                                 \
    return static_cast<type>(direct);                                    \
  }                                                                      \
  static type name##_first parameters {                                  \
    resolve();                                                           \
    return real::name arguments;                                         \
  }                                                                      \
  constinit std::atomic<type(*) parameters> name##_pointer{name##_first};
#include "shim/interposed.def"
#undef INTERPOSE

void resolve() {
#define INTERPOSE(type, name, exceptions, parameters, arguments, direct)          \
  {                                                                               \
    auto* next = reinterpret_cast<type(*) parameters>(dlsym(RTLD_NEXT, #name));   \
    name##_pointer.store(next ? next : name##_direct, std::memory_order_relaxed); \
  }
#include "shim/interposed.def"
#undef INTERPOSE
}

}  // namespace subset::shim::real
