# SPDX-License-Identifier: MIT
"""CPU time by the kernel's own accounting: control groups of version 2, one for each system that is
compared and one for the clients.

Every group of version 2 has cpu.stat, whether the cpu controller is there or not.
"""
import contextlib
import os
import pathlib

PREFIX = "subset-bench-"


def mount_point():
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, where, kind, *_ = line.split()
            if kind == "cgroup2":
                return pathlib.Path(where)
    raise RuntimeError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")


class Tree:
    """A group of our own with one below it for each name."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    @classmethod
    def create(cls):
        remove_leftovers()
        path = mount_point() / f"{PREFIX}{os.getpid()}"
        path.mkdir()
        return cls(path)

    def group(self, name):
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def join(self, name):
        """Of the calling process; "0" is itself, whatever number its namespace gives it."""
        (self.group(name) / "cgroup.procs").write_text("0", encoding="ascii")

    def seconds(self, name):
        return _usage(self.path / name)

    def all_seconds(self):
        return _usage(self.path)

    def remove(self):
        """Its processes have ended."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        self.path.rmdir()


def _usage(path):
    with contextlib.suppress(FileNotFoundError):
        for line in (path / "cpu.stat").read_text(encoding="ascii").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    return 0.0


def remove_leftovers():
    """Of runs that were killed: groups without a process."""
    for path in mount_point().glob(PREFIX + "*"):
        pid = path.name.removeprefix(PREFIX)
        if not pathlib.Path("/proc", pid).exists():
            with contextlib.suppress(OSError):
                Tree(path).remove()
