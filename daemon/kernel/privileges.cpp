// SPDX-License-Identifier: MIT
#include "daemon/kernel/privileges.h"

#include <sys/prctl.h>

#include <cap-ng.h>

namespace subset::kernel {
namespace {

constexpr unsigned kKept[] = {CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN};

}  // namespace

Result<void> check_capabilities() {
  capng_get_caps_process();
  for (unsigned capability : kKept) {
    if (!capng_have_capability(CAPNG_EFFECTIVE, capability))
      return fail(EPERM, std::string("capability ") + capng_capability_to_name(capability) +
                             " is missing; run subsetd as root, or give it the three that it "
                             "needs: cap_bpf, cap_perfmon, cap_net_admin");
  }
  return {};
}

Result<void> drop_capabilities() {
  if (auto there = check_capabilities(); !there) return there;
  // The bounding set can only be changed by those who may (CAP_SETPCAP); a daemon started with the
  // three alone leaves it as it is.
  const bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
  capng_clear(CAPNG_SELECT_BOTH);
  for (unsigned capability : kKept)
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                 capability);
  if (may_bound) {
    for (unsigned capability : kKept) capng_update(CAPNG_ADD, CAPNG_BOUNDING_SET, capability);
  }
  if (capng_apply(may_bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) != 0)
    return fail(EPERM, "drop the capabilities that are not needed");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno("set no_new_privs");
  return {};
}

}  // namespace subset::kernel
