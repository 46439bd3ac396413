// SPDX-License-Identifier: MIT
#include "shim/option.h"

#include <errno.h>
#include <string.h>

#include "include/subset/so_subset.h"
#include "shim/client.h"
#include "shim/join.h"
#include "shim/known.h"
#include "shim/process.h"
#include "shim/socket.h"

namespace subset::shim {
namespace {

static_assert(SO_SUBSET_ANY == kAnyInstance && SO_SUBSET_TOTAL_MAX == kMaxTotal);

int fail(int error) {
  errno = error;
  return -1;
}

bool in_range(const so_subset& share) {
  return share.total <= kMaxTotal &&
         (share.instance < share.total || share.instance == SO_SUBSET_ANY);
}

// The socket need not be a member, and there need not be a daemon: it is out of the subset then. It
// stays in the kernel's group until it is closed, where the daemon's program does not pick it.
int leave(int fd, const Socket& socket, bool is_live) {
  if (is_live) {
    protocol::Reply reply;
    ask_of(protocol::Kind::Leave, 0, fd, reply);
  }
  if (process.settings.given)  // which must not bring it back at the next bind or listen
    known_sockets.put(socket.cookie, {.flags = Known::kDeclared});
  else
    known_sockets.forget(socket.cookie);
  return 0;
}

int declare(int fd, const Socket& socket, const so_subset& share) {
  share_port(fd);
  known_sockets.put(socket.cookie, {share.total, share.instance, share.instance, Known::kDeclared});
  return 0;
}

// The daemon's answer to "which instance is this socket?", for one that follows the environment or
// was registered by another process.
bool query(int fd, so_subset& share) {
  protocol::Reply reply;
  if (ask_of(protocol::Kind::Query, 0, fd, reply) != 0 || !assigns(reply)) return false;
  share = {.total = reply.total, .instance = reply.instance};
  return true;
}

bool find_share(int fd, const Socket& socket, so_subset& share) {
  Known known;
  if (known_sockets.find(socket.cookie, known) && known.has(Known::kDeclared)) {
    share = {.total = known.total, .instance = known.assigned};
    return known.total != 0;
  }
  return live(fd, socket, local_endpoint(fd, socket)) && query(fd, share);
}

}  // namespace

int set_subset(int fd, const void* value, socklen_t length) {
  Socket socket;
  so_subset share;
  if (const int error = describe(fd, socket)) return fail(error);
  if (length != sizeof share) return fail(EINVAL);
  if (!value) return fail(EFAULT);
  memcpy(&share, value, sizeof share);
  const Endpoint endpoint = local_endpoint(fd, socket);
  const bool is_live = live(fd, socket, endpoint);
  if (share.total == 0) return leave(fd, socket, is_live);
  if (!in_range(share)) return fail(EINVAL);
  if (!settings_accepted()) return -1;
  activate();
  if (!is_live) return declare(fd, socket, share);
  return enter(fd, socket, endpoint,
               {.total = share.total, .instance = share.instance, .declared = true});
}

int get_subset(int fd, void* value, socklen_t* length) {
  Socket socket;
  so_subset share;
  if (const int error = describe(fd, socket)) return fail(error);
  if (!value || !length) return fail(EFAULT);
  if (static_cast<int>(*length) < 0) return fail(EINVAL);
  if (!find_share(fd, socket, share)) return fail(ENOPROTOOPT);
  if (*length > sizeof share) *length = sizeof share;  // the kernel gives what there is room for
  memcpy(value, &share, *length);
  return 0;
}

}  // namespace subset::shim
