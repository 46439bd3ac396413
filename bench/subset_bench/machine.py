# SPDX-License-Identifier: MIT
"""What the figures were measured on, and how busy others kept it meanwhile."""
import datetime
import os
import platform
import re
import subprocess

VERSIONS = {
    "dnsdist": ["dnsdist", "--version"],
    "haproxy": ["haproxy", "-v"],
    "memcached": ["memcached", "--version"],
    "nftables": ["nft", "--version"],
    "nginx": ["nginx", "-v"],
    "openssl": ["openssl", "version"],
    "unbound": ["unbound", "-V"],
}


def _version(command):
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return "not installed"
    found = re.search(r"\d+\.\d+(\.\d+)?", ran.stdout + ran.stderr)
    return found.group(0) if found else "unknown"


def _cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def describe(root):
    commit = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "-C", root, "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False).stdout.strip()
    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "subset": commit or "unknown",
        "versions": {name: _version(command) for name, command in VERSIONS.items()},
    }


class Clock:
    """CPU time of the whole machine, and of the threads that do the kernel's own network work.

    Idle time is exact (the kernel stops the tick then) where user and system time are sampled; what
    the hypervisor gave to others counts as busy. `proc` is a descriptor of the outermost /proc: the
    kernel's threads are not in that of a process namespace.
    """

    def __init__(self, proc):
        self.proc = proc
        self.softirq_threads = [pid for pid in os.listdir(proc)
                                if pid.isdigit() and self._read(f"{pid}/comm").startswith("ksoftirqd/")]

    def _read(self, path):
        try:
            with open(os.open(path, os.O_RDONLY, dir_fd=self.proc), encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""

    def idle_seconds(self):
        fields = self._read("stat").splitlines()[0].split()
        return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")

    def softirq_seconds(self):
        """Of ksoftirqd, that takes over when there is much: in nobody's control group."""
        return sum(int(self._read(f"{pid}/schedstat").split()[0]) for pid in self.softirq_threads) / 1e9
