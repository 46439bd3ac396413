# SPDX-License-Identifier: MIT
"""Runs the benchmarks in network, mount and process namespaces of their own: they touch no port, no
pin and no file of the machine, and whatever they started ends with them, however they end.

The outer process makes the control groups and waits; the inner one is the first process of the
namespaces. If the outer is interrupted, it kills the inner, and the kernel everything below it.
"""
import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import sys

from . import cgroups

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Interrupted(Exception):
    pass


def _interrupt(number, _frame):
    raise Interrupted(signal.Signals(number).name)


def run_inside(module, arguments, timeout):
    """Runs `python -m MODULE CGROUP ARGUMENTS…` inside; gives its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    tree = cgroups.Tree.create()
    command = ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--",
               sys.executable, "-m", module, str(tree.path), *arguments]
    inner = None
    try:
        # A session of its own: Ctrl-C reaches the outer process alone.
        inner = subprocess.Popen(command, start_new_session=True, preexec_fn=die_with_parent)
        return inner.wait(timeout)
    except subprocess.TimeoutExpired:
        print(f"bench: stopped after {timeout:.0f} s", file=sys.stderr)
        return 1
    except Interrupted as why:
        print(f"\nbench: {why}: taking everything down", file=sys.stderr)
        return 130
    finally:
        if inner and inner.poll() is None:
            inner.kill()
            inner.wait()
        _remove_when_empty(tree)


def _remove_when_empty(tree):
    """Killed processes take a moment to leave their group."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            tree.remove()
            return
        signal.sigtimedwait([], 0.05)
    print(f"bench: {tree.path} could not be removed", file=sys.stderr)


def _mount(kind, where, options=""):
    subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), kind, where], check=True)


def _private_tmp():
    """The source tree stays in sight if it is somewhere in there."""
    tree = pathlib.Path(__file__).resolve().parents[2]
    inside = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    _mount("tmpfs", "/tmp", "mode=1777")
    if tree.is_relative_to("/tmp"):
        tree.mkdir(parents=True)
        subprocess.run(["mount", "--no-canonicalize", "--bind", f"/proc/self/fd/{inside}", tree], pass_fds=[inside],
                       check=True)
    os.close(inside)


def set_up():
    """In the inner process, once. Gives a descriptor of the outermost /proc."""
    outermost = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    _mount("proc", "/proc")
    _mount("tmpfs", "/run", "mode=0755")
    _private_tmp()
    _mount("bpf", "/sys/fs/bpf")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _set("net/ipv4/ip_local_port_range", "1024 65000")
    # Whole TIME_WAIT tables of a finished round would weigh on the next.
    _set("net/ipv4/tcp_max_tw_buckets", "4096")
    _set("net/core/somaxconn", "4096")
    return outermost


def _set(name, value):
    pathlib.Path("/proc/sys", name).write_text(value, encoding="ascii")
