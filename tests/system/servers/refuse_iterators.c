// SPDX-License-Identifier: MIT
// Preloaded into a daemon: the kernel seems to refuse iterators over the values of a map, as one
// does that is locked down. All else goes to the kernel.
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <sys/syscall.h>

static int refused(long number, const long* arguments) {
  const union bpf_attr* attr = (const union bpf_attr*)arguments[1];

  return number == SYS_bpf && arguments[0] == BPF_LINK_CREATE &&
         attr->link_create.attach_type == BPF_TRACE_ITER && attr->link_create.iter_info_len > 0;
}

// libbpf makes its calls through this function of libc.
long syscall(long number, ...) {
  static long (*real)(long, ...);
  long arguments[6];
  va_list list;

  va_start(list, number);
  for (int i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
  va_end(list);
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, "syscall");
  if (refused(number, arguments)) {
    errno = EPERM;
    return -1;
  }
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
              arguments[5]);
}
