// SPDX-License-Identifier: MIT
// Sockets that the process did not bind itself, but found open when it started.
#pragma once

namespace subset::shim {

// At load. Listeners whose listen a former image of this process put off wait for their first use
// again, and so do sockets that are members already. What a service manager passed to this process
// (LISTEN_PID, LISTEN_FDS) joins at once.
void adopt_inherited();

}  // namespace subset::shim
