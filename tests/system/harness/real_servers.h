// SPDX-License-Identifier: MIT
// Unmodified servers, dnsmasq for UDP and nginx for TCP, and `subset run` of several of them. {i}
// in their commands is to become a number.
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
std::vector<std::string> dnsmasq_command(uint16_t port = 5353);
// A master and a worker that inherits its listener, as nginx usually is; writes its configuration.
// `listen` is an address and what nginx may say behind it.
std::vector<std::string> nginx_command(Machine& machine, const std::string& listen = kHttpAddress);

std::vector<std::string> numbered(std::vector<std::string> command, uint32_t number);

Command run_command(const DaemonProcess& daemon, uint32_t copies,
                    const std::vector<std::string>& server,
                    const std::vector<std::string>& options = {});

// The rolling restarts that a run has done so far, by what it said.
size_t rolls_done(const Process& run);
// Restarts all instances of a run so many times; throws if that does not end.
void roll(const Process& run, int times);

void tell_outcome(const std::string& how, const DnsLoad::Outcome& dns,
                  const HttpLoad::Outcome& http);
void check_nothing_lost(const DnsLoad::Outcome& dns, const HttpLoad::Outcome& http);

}  // namespace subset::test
