# SPDX-License-Identifier: MIT
"""Where a scenario works: processes in control groups, on chosen CPUs, with their CPU time."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from .machine import Clock

CLIENTS = "clients"
DAEMON = "subsetd"
FIRST_PORT, LAST_PORT = 20000, 60000


class Failed(Exception):
    """A scenario cannot go on; the text says why."""


class Lab:
    def __init__(self, tree, proc, build, options):
        self.tree = tree
        self.clock = Clock(proc)
        self.build = pathlib.Path(build)
        self.options = options
        self.scratch = pathlib.Path("/tmp/bench")
        self.scratch.mkdir(exist_ok=True)
        self.processes = []
        self.next_port = FIRST_PORT
        self.daemons = 0
        cpus = sorted(os.sched_getaffinity(0))
        self.cpus = cpus
        # Clients on one CPU, servers on the others: two identical systems then differ least.
        self.client_cpus = cpus[:1]
        self.server_cpus = cpus[1:] or cpus

    # --- names ---

    def tool(self, name):
        return str(self.build / "bench" / name)

    @property
    def subset(self):
        return str(self.build / "ctl/subset")

    @property
    def shim(self):
        return str(self.build / "shim/libsubset.so")

    @property
    def control_socket(self):
        return str(self.scratch / "subsetd.sock")

    def port(self, count=1):
        """Of `count` in a row, the first."""
        if self.next_port + count > LAST_PORT:
            self.next_port = FIRST_PORT
        self.next_port += count
        return self.next_port - count

    def file(self, name, text):
        path = self.scratch / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def share(self, instance, total, **settings):
        """The environment of a server that takes a share."""
        environment = {"LD_PRELOAD": self.shim, "SUBSET": f"{instance}/{total}",
                       "SUBSET_SOCKET": self.control_socket, "SUBSET_FALLBACK": "fail"}
        environment.update({f"SUBSET_{name.upper()}": str(value) for name, value in settings.items()})
        return environment

    def plain_share(self, total):
        """Plain SO_REUSEPORT for a server that has no setting for it: the shim without a daemon."""
        return {"LD_PRELOAD": self.shim, "SUBSET": f"0/{total}", "SUBSET_LOG": "off",
                "SUBSET_SOCKET": "/nonexistent"}

    # --- progress ---

    def say(self, text):
        """One line on a terminal, overwritten; nothing in a log."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K   {text[:100]}", end="", file=sys.stderr, flush=True)

    def clear(self):
        self.say("")

    # --- processes ---

    def _enter(self, group, cpus):
        def enter():
            self.tree.join(group)
            if cpus:
                os.sched_setaffinity(0, cpus)
        return enter

    def start(self, command, group, cpus=None, env=None, output=None):
        """A process in the background, its output in a file."""
        name = output or f"{group}-{pathlib.Path(command[0]).name}-{len(self.processes)}.log"
        path = self.scratch / name
        with open(path, "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env={**os.environ, **(env or {})},
                                       preexec_fn=self._enter(group, cpus))
        process.log = path
        self.processes.append(process)
        return process

    def ask(self, command, group=CLIENTS, cpus=None, env=None, timeout=120):
        """Runs a tool of ours; gives the JSON that it prints."""
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             env={**os.environ, **(env or {})}, timeout=timeout,
                             preexec_fn=self._enter(group, cpus), check=False)
        if ran.returncode != 0:
            raise Failed(f"{command[0]} failed: {(ran.stderr.strip() or ran.stdout.strip())[-500:]}")
        try:
            return json.loads(ran.stdout)
        except json.JSONDecodeError as error:
            raise Failed(f"{command[0]} printed no JSON: {ran.stdout[:200]!r} {ran.stderr[:200]!r}") from error

    def stop(self, process, number=signal.SIGTERM, patience=5):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def stop_all(self):
        for process in reversed(list(self.processes)):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in list(self.processes):
            process.wait()
        self.processes.clear()

    def until(self, condition, what, process=None, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            if process and process.poll() is not None:
                break
            time.sleep(0.01)
        text = process.log.read_text(errors="replace")[-1500:] if process else ""
        raise Failed(f"{what}\n{text}")

    # --- the product ---

    @property
    def pins(self):
        return pathlib.Path(f"/sys/fs/bpf/subset-{self.daemons}")

    def start_daemon(self, adopt=False, patience=10, env=None):
        """With pins of its own, unless it is to go on from those of the last one."""
        if not adopt:
            shutil.rmtree(self.pins, ignore_errors=True)
            self.daemons += 1
        daemon = self.start([str(self.build / "daemon/subsetd"), "--socket", self.control_socket,
                             "--pin-dir", str(self.pins), "--log", "warn"], DAEMON, env=env, output="subsetd.log")
        self.until(lambda: self.status() is not None, "subsetd does not serve", daemon, patience)
        return daemon

    def status(self, *what):
        ran = subprocess.run([self.subset, "status", *what, "--json"], capture_output=True, text=True,
                             env={**os.environ, "SUBSET_SOCKET": self.control_socket}, check=False)
        return json.loads(ran.stdout) if ran.returncode == 0 else None

    def command(self, *arguments):
        subprocess.run([self.subset, *arguments], check=True, capture_output=True,
                       env={**os.environ, "SUBSET_SOCKET": self.control_socket})

    def wait_for_members(self, group, count, process=None):
        def there():
            status = self.status()
            groups = [g for g in (status or {}).get("groups", []) if g["id"] == group]
            return bool(groups) and sum(m["state"] == "active" for m in groups[0]["members"]) == count
        self.until(there, f"{group} has not {count} active members", process)

    def wait_for_no_groups(self):
        """Whoever had any has ended; groups go a little later."""
        def none_active():
            groups = (self.status() or {"groups": []})["groups"]
            return not any(member["state"] == "active" for group in groups for member in group["members"])
        self.until(none_active, "groups have members whose processes have ended", seconds=60)

    # --- what it costs ---

    @contextlib.contextmanager
    def account(self, groups):
        """CPU seconds of control groups (name -> seconds), of ksoftirqd, and the share of the machine
        that neighbours used."""
        used = {}
        names = [*groups, CLIENTS]
        before = {name: self.tree.seconds(name) for name in names}
        ours, softirq = self.tree.all_seconds(), self.clock.softirq_seconds()
        idle, start = self.clock.idle_seconds(), time.monotonic()
        yield used
        wall = time.monotonic() - start
        idle = self.clock.idle_seconds() - idle
        used["softirq"] = self.clock.softirq_seconds() - softirq
        ours = self.tree.all_seconds() - ours + used["softirq"]
        used.update({name: self.tree.seconds(name) - before[name] for name in names})
        machine = wall * os.cpu_count()
        used["wall"] = wall
        used["neighbours"] = max(0.0, (machine - idle - ours) / machine)


def listens(port, kind=socket.SOCK_STREAM):
    """Somebody has bound the port."""
    table = "/proc/net/tcp" if kind == socket.SOCK_STREAM else "/proc/net/udp"
    wanted = f":{port:04X}"
    with open(table, encoding="ascii") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[1].endswith(wanted) and fields[3] in ("0A", "07"):
                return True
    return False


