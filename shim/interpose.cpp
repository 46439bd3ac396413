// SPDX-License-Identifier: MIT
// The calls that the program makes. In an idle process each is one test of a flag in front of the
// real one.
#include <linux/fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "include/subset/so_subset.h"
#include "shim/environment.h"
#include "shim/farewell.h"
#include "shim/guard.h"
#include "shim/join.h"
#include "shim/option.h"
#include "shim/process.h"
#include "shim/real.h"
#include "shim/spread.h"

extern "C" {
#define INTERPOSE(type, name, exceptions, parameters, arguments, direct) \
  [[gnu::visibility("default")]] type name parameters exceptions;
#include "shim/interposed.def"
#undef INTERPOSE
}

namespace shim = subset::shim;
namespace real = subset::shim::real;

int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  if (!shim::active()) return real::bind(fd, address, length);
  return shim::as_guest([&] { return shim::bind_and_join(fd, address, length); });
}

int listen(int fd, int backlog) noexcept {
  if (!shim::active()) return real::listen(fd, backlog);
  return shim::as_guest([&] { return shim::listen_and_join(fd, backlog); });
}

int connect(int fd, const sockaddr* address, socklen_t length) {
  if (!shim::active() || !shim::is_dissolve(address, length))
    return real::connect(fd, address, length);
  return shim::as_guest([&] { return shim::dissolve(fd, address, length); });
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  if (level == SOL_SOCKET && name == SO_SUBSET)
    return shim::as_guest([&] { return shim::set_subset(fd, value, length); });
  if (level != SOL_SOCKET || name != SO_REUSEPORT || !shim::active())
    return real::setsockopt(fd, level, name, value, length);
  return shim::as_guest([&] {
    if (shim::unshares_member(fd, value, length)) return 0;
    return real::setsockopt(fd, level, name, value, length);
  });
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  if (level == SOL_SOCKET && name == SO_ACCEPTCONN && shim::is_deferred(fd))
    return shim::as_guest([&] { return shim::get_acceptconn(fd, value, length); });
  if (level != SOL_SOCKET || name != SO_SUBSET)
    return real::getsockopt(fd, level, name, value, length);
  return shim::as_guest([&] { return shim::get_subset(fd, value, length); });
}

// --- the first use of a listener whose listen was put off
// -----------------------------------------

int accept(int fd, sockaddr* address, socklen_t* length) {
  if (shim::is_deferred(fd) && shim::first_use(fd) != 0) return -1;
  return real::accept(fd, address, length);
}

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (shim::is_deferred(fd) && shim::first_use(fd) != 0) return -1;
  return real::accept4(fd, address, length, flags);
}

int epoll_ctl(int set, int operation, int fd, epoll_event* event) noexcept {
  if (operation == EPOLL_CTL_ADD && shim::is_deferred(fd) && shim::first_use(fd) != 0) return -1;
  return real::epoll_ctl(set, operation, fd, event);
}

int poll(pollfd* polled, nfds_t count, int timeout) {
  shim::first_use(polled, count);
  return real::poll(polled, count, timeout);
}

int ppoll(pollfd* polled, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  shim::first_use(polled, count);
  return real::ppoll(polled, count, timeout, mask);
}

int __poll_chk(pollfd* polled, nfds_t count, int timeout, size_t room) {
  shim::first_use(polled, count);
  return real::__poll_chk(polled, count, timeout, room);
}

int __ppoll_chk(pollfd* polled, nfds_t count, const timespec* timeout, const sigset_t* mask,
                size_t room) {
  shim::first_use(polled, count);
  return real::__ppoll_chk(polled, count, timeout, mask, room);
}

int select(int count, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout) {
  shim::first_use(count, readable);
  return real::select(count, readable, writable, exceptional, timeout);
}

int pselect(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
            const timespec* timeout, const sigset_t* mask) {
  shim::first_use(count, readable);
  return real::pselect(count, readable, writable, exceptional, timeout, mask);
}

// --- the first use of a socket that others receive from too
// ----------------------------------------

ssize_t read(int fd, void* buffer, size_t size) {
  shim::before_receive(fd);
  return real::read(fd, buffer, size);
}

ssize_t __read_chk(int fd, void* buffer, size_t size, size_t room) {
  shim::before_receive(fd);
  return real::__read_chk(fd, buffer, size, room);
}

ssize_t readv(int fd, const iovec* parts, int count) {
  shim::before_receive(fd);
  return real::readv(fd, parts, count);
}

ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  shim::before_receive(fd);
  return real::recv(fd, buffer, size, flags);
}

ssize_t __recv_chk(int fd, void* buffer, size_t size, size_t room, int flags) {
  shim::before_receive(fd);
  return real::__recv_chk(fd, buffer, size, room, flags);
}

ssize_t recvfrom(int fd, void* buffer, size_t size, int flags, sockaddr* address,
                 socklen_t* length) {
  shim::before_receive(fd);
  return real::recvfrom(fd, buffer, size, flags, address, length);
}

ssize_t __recvfrom_chk(int fd, void* buffer, size_t size, size_t room, int flags, sockaddr* address,
                       socklen_t* length) {
  shim::before_receive(fd);
  return real::__recvfrom_chk(fd, buffer, size, room, flags, address, length);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  shim::before_receive(fd);
  const ssize_t result = real::recvmsg(fd, message, flags);
  if (result >= 0) shim::note_arrivals(*message);
  return result;
}

int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, timespec* timeout) {
  shim::before_receive(fd);
  const int result = real::recvmmsg(fd, messages, count, flags, timeout);
  for (int i = 0; i < result; ++i) shim::note_arrivals(messages[i].msg_hdr);
  return result;
}

// --- other names of it
// ----------------------------------------------------------------------------

int dup(int fd) noexcept {
  return shim::duplicate(fd, real::dup(fd));
}

int dup2(int fd, int target) noexcept {
  return shim::duplicate(fd, real::dup2(fd, target));
}

int dup3(int fd, int target, int flags) noexcept {
  return shim::duplicate(fd, real::dup3(fd, target, flags));
}

static bool duplicates(int command) {
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

int fcntl(int fd, int command, long argument) {
  const int result = real::fcntl(fd, command, argument);
  return duplicates(command) ? shim::duplicate(fd, result) : result;
}

int fcntl64(int fd, int command, long argument) {
  const int result = real::fcntl64(fd, command, argument);
  return duplicates(command) ? shim::duplicate(fd, result) : result;
}

// --- its end
// --------------------------------------------------------------------------------------

int close(int fd) {
  if (shim::listeners.has(fd)) shim::as_guest([&] { return shim::leave_before_close(fd), 0; });
  return real::close(fd);
}

int shutdown(int fd, int how) noexcept {
  if (shim::listeners.has(fd))
    shim::as_guest([&] { return shim::leave_before_shutdown(fd, how), 0; });
  return real::shutdown(fd, how);
}

int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) noexcept {
  shim::note_prctl(option);
  return real::prctl(option, a, b, c, d);
}

// --- its owner
// ------------------------------------------------------------------------------------

int setuid(uid_t user) noexcept {
  shim::before_user_changes(user);
  return real::setuid(user);
}

int seteuid(uid_t user) noexcept {
  shim::before_user_changes(user);
  return real::seteuid(user);
}

int setreuid(uid_t user, uid_t effective) noexcept {
  shim::before_user_changes(effective);
  return real::setreuid(user, effective);
}

int setresuid(uid_t user, uid_t effective, uid_t saved) noexcept {
  shim::before_user_changes(effective);
  return real::setresuid(user, effective, saved);
}

// --- what is executed
// -----------------------------------------------------------------------------

// The new environment lives on the stack of the caller, who may be the child of a vfork.
template <typename Execute>
static int with_variables(char* const* environment, Execute execute) {
  const size_t room = shim::room_for_variables(environment);
  if (room == 0) return execute(environment);
  auto** complete = static_cast<char**>(__builtin_alloca(room * sizeof(char*)));
  shim::put_variables_back(environment, complete);
  return execute(complete);
}

int execve(const char* path, char* const* arguments, char* const* environment) noexcept {
  return with_variables(
      environment, [&](char* const* complete) { return real::execve(path, arguments, complete); });
}

int execv(const char* path, char* const* arguments) noexcept {
  return with_variables(
      environ, [&](char* const* complete) { return real::execve(path, arguments, complete); });
}

int execvp(const char* file, char* const* arguments) noexcept {
  return with_variables(
      environ, [&](char* const* complete) { return real::execvpe(file, arguments, complete); });
}

int execvpe(const char* file, char* const* arguments, char* const* environment) noexcept {
  return with_variables(
      environment, [&](char* const* complete) { return real::execvpe(file, arguments, complete); });
}

// The child of libc's own calls the kernel's execve, past ours.
int posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes, char* const* arguments,
                char* const* environment) {
  return with_variables(environment, [&](char* const* complete) {
    return real::posix_spawn(child, path, actions, attributes, arguments, complete);
  });
}

int posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                 const posix_spawnattr_t* attributes, char* const* arguments,
                 char* const* environment) {
  return with_variables(environment, [&](char* const* complete) {
    return real::posix_spawnp(child, file, actions, attributes, arguments, complete);
  });
}
