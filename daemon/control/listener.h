// SPDX-License-Identifier: MIT
// The control socket as others find it: a listening AF_UNIX SOCK_SEQPACKET socket.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace subset::control {

// Who may connect: whoever may write to the socket in the file system.
struct Access {
  gid_t group = static_cast<gid_t>(-1);  // -1: the group that makes it
  mode_t mode = 0666;
};

// The number of a group by its name, or by the number itself; -1 for the empty one. Errors: ENOENT.
Result<gid_t> find_group(const std::string& name);

class Listener {
 public:
  // Makes the socket, and its directory where that is missing. What a daemon
  // that died left there is replaced; EADDRINUSE where one lives. The file goes with the Listener,
  // unless it has become somebody else's.
  static Result<Listener> at_path(const std::string& path, Access access = {});

  // The name that belongs to a path (protocol/socket_name.h), open to everybody in this network
  // namespace. EADDRINUSE where somebody has it.
  static Result<Listener> by_name(const std::string& path);

  // A socket that somebody else made and keeps. EINVAL where it is of another kind.
  static Result<Listener> adopt(Fd socket);

  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  ~Listener();

  int fd() const { return socket_.get(); }

 private:
  struct File;
  Listener(Fd socket, std::unique_ptr<File> file);

  Fd socket_;
  std::unique_ptr<File> file_;  // empty: adopted, or only a name
};

}  // namespace subset::control
