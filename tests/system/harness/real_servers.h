// SPDX-License-Identifier: MIT
// Unmodified servers, dnsmasq for UDP and nginx for TCP, and `subset run` of several of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/system/harness/daemon_process.h"
#include "tests/system/harness/dns_load.h"
#include "tests/system/harness/http_load.h"
#include "tests/system/harness/machine.h"
#include "tests/system/harness/process.h"

namespace subset::test {

inline constexpr char kDnsGroup[] = "udp/127.0.0.1:5353";
inline constexpr char kHttpGroup[] = "tcp/127.0.0.1:8080";
inline constexpr char kDnsAddress[] = "127.0.0.1:5353";
inline constexpr char kHttpAddress[] = "127.0.0.1:8080";

// Answers every question by itself.
std::vector<std::string> dnsmasq_command();
// A master and a worker that inherits its listener, as nginx usually is; writes its configuration.
std::vector<std::string> nginx_command(Machine& machine);

Command run_command(const DaemonProcess& daemon, uint32_t copies,
                    const std::vector<std::string>& server,
                    const std::vector<std::string>& options = {});

void tell_outcome(const std::string& how, const DnsLoad::Outcome& dns,
                  const HttpLoad::Outcome& http);
void check_nothing_lost(const DnsLoad::Outcome& dns, const HttpLoad::Outcome& http);

}  // namespace subset::test
