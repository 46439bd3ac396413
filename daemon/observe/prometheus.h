// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "daemon/observe/snapshot.h"

namespace subset::observe {

inline constexpr char kPrometheusType[] = "text/plain; version=0.0.4; charset=utf-8";

// The metrics of DESIGN section 8, in Prometheus' text format.
std::string to_prometheus(const Snapshot& snapshot);

}  // namespace subset::observe
