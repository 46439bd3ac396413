// SPDX-License-Identifier: MIT
#include "daemon/control/listener.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "protocol/socket_name.h"

namespace subset::control {
namespace {

constexpr int kBacklog = 4096;                 // what is asked while the daemon restarts waits here
constexpr std::chrono::seconds kAfterlife(3);  // of a dead daemon's listener, on a busy machine

bool same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

tl::unexpected<Error> in_use(const std::string& path) {
  return fail(EADDRINUSE, "another daemon serves " + path +
                              ": stop it, or give this one a --socket and a --pin-dir of its own");
}

// What to do where the control socket cannot be made; nothing where the error says it itself.
std::string_view remedy(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return ": run it as root, or name another place by --socket";
    case ENOENT:
    case ENOTDIR:
      return ": make the directory that it is to be in, or name another by --socket";
    case EROFS:
      return ": name a place that can be written by --socket";
    default:
      return "";
  }
}

// The same as fail_errno, where a person can choose another place.
tl::unexpected<Error> fail_at_place(const std::string& doing) {
  const int error = errno;
  auto failed = fail_system(error, doing);
  failed.value().context += remedy(error);
  return failed;
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ENAMETOOLONG, "control socket '" + path + "' (1 to " +
                                  std::to_string(sizeof address.sun_path - 1) + " characters)");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<Fd> make_socket() {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("make a control socket");
  return socket;
}

Result<void> make_directory_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return {};
  std::string directory = path.substr(0, slash);
  if (mkdir(directory.c_str(), 0755) == 0) {
    // The umask may have taken bits that unprivileged servers need to get to the socket.
    if (chmod(directory.c_str(), 0755) == 0) return {};
  } else if (errno == EEXIST) {
    return {};
  }
  return fail_at_place("make directory " + directory);
}

// Two daemons that start at once could both find a stale socket, and the slower one would remove
// the socket that the faster one has just made: only the holder of this lock touches the path.
Result<Fd> lock_path(const std::string& path) {
  std::string name = path + ".lock";
  for (;;) {
    Fd lock(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) return fail_at_place("make " + name);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno == EWOULDBLOCK) return in_use(path);
      return fail_errno("lock " + name);
    }
    // The last holder removed the file on its way out: this lock may be of one that is gone.
    struct stat ours {};
    struct stat there {};
    if (fstat(lock.get(), &ours) == 0 && stat(name.c_str(), &there) == 0 &&
        same_file(ours, there)) {
      return lock;
    }
  }
}

// Success, and any error but ECONNREFUSED, are of a listener that lives: its queue is full, or it
// is of another type.
Result<bool> listens(const sockaddr_un& address) {
  auto probe = make_socket();
  if (!probe) return tl::unexpected(std::move(probe.error()));
  return connect(probe->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
         errno != ECONNREFUSED;
}

// The listener of a daemon that was killed lives a little longer than the daemon, whose lock is
// free at once: an armed poll of io_uring holds it, and the kernel takes rings down in the
// background.
Result<void> wait_until_stale(const std::string& path, const sockaddr_un& address) {
  auto deadline = std::chrono::steady_clock::now() + kAfterlife;
  for (;;) {
    auto alive = listens(address);
    if (!alive) return tl::unexpected(std::move(alive.error()));
    if (!*alive) return {};
    if (std::chrono::steady_clock::now() >= deadline) return in_use(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return fail_errno("look at " + path);
  }
  if (!S_ISSOCK(status.st_mode))
    return fail(ENOTSOCK, "make the control socket: " + path +
                              " is something else: remove it, or name another place by --socket");
  if (auto stale = wait_until_stale(path, address); !stale) return stale;
  if (unlink(path.c_str()) < 0) return fail_errno("remove the stale control socket " + path);
  return {};
}

// Nobody can connect before listen(), so it does not matter which mode the umask left in between.
Result<void> bind_and_listen(int socket, const std::string& path, const sockaddr_un& address,
                             Access access) {
  if (bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return fail_at_place("bind the control socket to " + path);
  }
  if (access.group != static_cast<gid_t>(-1) &&
      lchown(path.c_str(), static_cast<uid_t>(-1), access.group) < 0) {
    return fail_errno("give " + path + " to group " + std::to_string(access.group));
  }
  if (chmod(path.c_str(), access.mode) < 0) return fail_errno("set the mode of " + path);
  if (listen(socket, kBacklog) < 0) return fail_errno("listen on " + path);
  return {};
}

int option_of(int socket, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  if (getsockopt(socket, SOL_SOCKET, option, &value, &size) < 0) return -1;
  return value;
}

}  // namespace

Result<gid_t> find_group(const std::string& name) {
  if (name.empty()) return static_cast<gid_t>(-1);
  if (const struct group* known = getgrnam(name.c_str())) return known->gr_gid;
  gid_t number = 0;
  const char* end = name.data() + name.size();
  const auto read = std::from_chars(name.data(), end, number);
  if (read.ec == std::errc() && read.ptr == end) return number;
  return fail(ENOENT, "there is no group '" + name + "' that the control socket could belong to");
}

// The socket in the file system, and the claim to it.
struct Listener::File {
  File(std::string its_path, Fd its_lock) : path(std::move(its_path)), lock(std::move(its_lock)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    struct stat there {};
    if (made && lstat(path.c_str(), &there) == 0 && same_file(there, status)) unlink(path.c_str());
    unlink((path + ".lock").c_str());  // while it is locked
  }

  std::string path;
  Fd lock;
  bool made = false;
  struct stat status {};
};

Listener::Listener(Fd socket, std::unique_ptr<File> file)
    : socket_(std::move(socket)), file_(std::move(file)) {}
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;
Listener::~Listener() = default;

Result<Listener> Listener::at_path(const std::string& path, Access access) {
  auto address = address_of(path);
  if (!address) return tl::unexpected(std::move(address.error()));
  if (auto done = make_directory_of(path); !done) return tl::unexpected(std::move(done.error()));
  auto lock = lock_path(path);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  auto file = std::make_unique<File>(path, std::move(*lock));
  if (auto done = remove_stale(path, *address); !done) {
    return tl::unexpected(std::move(done.error()));
  }
  auto socket = make_socket();
  if (!socket) return tl::unexpected(std::move(socket.error()));
  if (auto done = bind_and_listen(socket->get(), path, *address, access); !done) {
    return tl::unexpected(std::move(done.error()));
  }
  if (lstat(path.c_str(), &file->status) < 0) return fail_errno("look at " + path);
  file->made = true;
  return Listener(std::move(*socket), std::move(file));
}

Result<Listener> Listener::by_name(const std::string& path) {
  sockaddr_un address{};
  const socklen_t length = protocol::name_of_path(path.c_str(), address);
  if (length == 0) return fail(ENAMETOOLONG, "name the control socket");
  auto socket = make_socket();
  if (!socket) return tl::unexpected(std::move(socket.error()));
  if (bind(socket->get(), reinterpret_cast<const sockaddr*>(&address), length) < 0 ||
      listen(socket->get(), kBacklog) < 0)
    return fail_errno("listen on the abstract name @" + path);
  return Listener(std::move(*socket), nullptr);
}

Result<Listener> Listener::adopt(Fd socket) {
  int fd = socket.get();
  if (option_of(fd, SO_DOMAIN) != AF_UNIX || option_of(fd, SO_TYPE) != SOCK_SEQPACKET ||
      option_of(fd, SO_ACCEPTCONN) != 1) {
    return fail(EINVAL, "take over a descriptor that is no listening AF_UNIX SOCK_SEQPACKET one");
  }
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC)) {
    return fail_errno("prepare the control socket that was handed over");
  }
  // Connections inherit these; each message would bring control data that nobody looks at.
  int off = 0;
  for (int option : {SO_PASSCRED, SO_PASSSEC}) {
    if (setsockopt(fd, SOL_SOCKET, option, &off, sizeof off) < 0) {
      return fail_errno("prepare the control socket that was handed over");
    }
  }
  return Listener(std::move(socket), nullptr);
}

}  // namespace subset::control
