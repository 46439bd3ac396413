# SPDX-License-Identifier: MIT
"""What the daemon costs: joining, many groups, large groups, planning, starting, restarting."""
import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import time

from ..figures import Table
from ..lab import CLIENTS, DAEMON, Failed

TITLE = "Control plane"
CLIENTS_AT_ONCE = (1, 4, 16, 64)


def shim_env(lab):
    return {"LD_PRELOAD": lab.shim, "SUBSET_SOCKET": lab.control_socket, "SUBSET_FALLBACK": "fail",
            "SUBSET_LOG": "off"}


def join_cost(lab, *arguments, how="subset"):
    command = [lab.tool("join_cost"), "--port", str(lab.port(2000)), *map(str, arguments)]
    if how == "plain":
        return lab.ask([*command, "--plain"])
    if how == "bare":
        with bare_daemon(lab) as environment:
            return lab.ask(command, env=environment)
    return lab.ask(command, env=shim_env(lab))


# --- joining ---

@contextlib.contextmanager
def bare_daemon(lab):
    """The environment of clients of a daemon that only answers."""
    path = lab.scratch / "bare.sock"
    daemon = lab.start([lab.tool("bare_daemon"), str(path)], DAEMON)
    lab.until(path.exists, "bare_daemon does not serve", daemon)
    yield {**shim_env(lab), "SUBSET_SOCKET": str(path)}
    lab.stop(daemon)
    path.unlink()


def joining_table(lab):
    """Each client has one group and joins with one socket after the other."""
    table = Table("joining", "What `bind` takes with the registration in it", [
        ("p50_us", "p50 µs", "{:,.0f}"),
        ("p99_us", "p99 µs", "{:,.0f}"),
        ("max_us", "max µs", "{:,.0f}"),
        ("joins_per_second", "joins/s", "{:,.0f}"),
        ("failed", "no answer within 1 s", "{:,.0f}"),
    ])
    members = 5 if lab.options.smoke else 30
    cases = [("plain", "1 client, no registration", 1, 0, "plain"),
             ("bare", "1 client, a daemon that only answers", 1, 0, "bare")]
    for clients in CLIENTS_AT_ONCE[:2] if lab.options.smoke else CLIENTS_AT_ONCE:
        label = f"{clients} client{'s' if clients > 1 else ''}"
        cases.append((f"burst-{clients}", f"{label}, without a pause", clients, 0, "subset"))
    cases.append(("paced-64", "64 clients, 1,000 joins a second in all", 64, 1000, "subset"))
    for name, label, clients, rate, how in cases:
        table.system(name, label)
    for number in range(min(lab.options.rounds, 5)):
        for name, label, clients, rate, how in cases:
            lab.say(f"joining: round {number + 1}, {label}")
            each = members if clients > 4 else members * 8
            figures = join_cost(lab, "--clients", clients, "--members", each, "--rate", rate, how=how)
            table.add_all(name, {key: figures.get(key, 0) for key, _, _ in table.columns}, number)
            lab.wait_for_no_groups()
    return table


# --- many and large ---

def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


def map_bytes(pid):
    """Memory of the BPF maps that the daemon holds, as the kernel accounts for it."""
    total, seen = 0, set()
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError:
            continue
        found = dict(re.findall(r"^(map_id|memlock):\s+(\d+)", text, re.MULTILINE))
        if "map_id" in found and found["map_id"] not in seen:
            seen.add(found["map_id"])
            total += int(found["memlock"])
    return total


class Held:
    """A probe that joined and keeps its sockets."""

    def __init__(self, lab, *arguments):
        self.lab = lab
        output = f"held-{time.monotonic_ns()}.log"
        self.process = lab.start([lab.tool("join_cost"), "--hold", "--port", str(lab.port(2000)),
                                  *map(str, arguments)], CLIENTS, None, shim_env(lab), output)
        lab.until(lambda: self.process.log.read_text().strip(), "the probe did not join", self.process, 60)
        text = self.process.log.read_text().strip()
        if not text.startswith("{"):
            raise Failed(f"join_cost: {text[-500:]}")
        self.figures = json.loads(text)

    def end(self):
        self.lab.stop(self.process)
        self.lab.wait_for_no_groups()


def memory_of(daemon):
    return map_bytes(daemon.pid), resident_bytes(daemon.pid)


def scale_table(lab):
    groups = 50 if lab.options.smoke else 1000
    members = 50 if lab.options.smoke else 2000
    large = 64 if lab.options.smoke else 4096
    table = Table("scale", "Many groups, large groups", [
        ("seconds", "seconds", "{:.3f}"),
        ("map_kib", "KiB of maps each", "{:.1f}"),
        ("resident_kib", "KiB of the daemon's memory each", "{:.1f}"),
    ])
    cases = [
        ("groups", f"{groups:,} groups of 2", groups, ["--groups", groups, "--members", 2]),
        ("members", f"{members:,} members of one group", members, ["--members", members]),
        ("large", f"one group of {large:,}", large, ["--members", large]),
    ]
    for name, label, _, _ in cases:
        table.system(name, label)
    for number in range(min(lab.options.rounds, 3)):
        for name, label, count, arguments in cases:
            lab.say(f"scale: round {number + 1}, {label}")
            daemon = lab.start_daemon()
            maps, resident = memory_of(daemon)
            held = Held(lab, *arguments)
            time.sleep(0.2)
            more_maps, more_resident = memory_of(daemon)
            table.add_all(name, {
                "seconds": held.figures["seconds"],
                "map_kib": (more_maps - maps) / count / 1024,
                "resident_kib": (more_resident - resident) / count / 1024,
            }, number)
            held.end()
            lab.stop(daemon)
    return table


def restart_table(lab):
    groups = 50 if lab.options.smoke else 1000
    table = Table("restart", f"The daemon is restarted with {groups:,} groups of 2", [
        ("ready_s", "seconds until it serves", "{:.2f}"),
        ("cpu_s", "CPU seconds", "{:.2f}"),
        ("adopted", "groups adopted", "{:,.0f}"),
    ])
    table.system("restart", "SIGTERM, start")
    for number in range(min(lab.options.rounds, 3)):
        daemon = lab.start_daemon()
        held = Held(lab, "--groups", groups, "--members", 2)
        lab.stop(daemon, patience=20)
        cpu, before = lab.tree.seconds(DAEMON), time.monotonic()
        daemon = lab.start_daemon(adopt=True, patience=60)
        ready = time.monotonic() - before
        table.add_all("restart", {
            "ready_s": ready,
            "cpu_s": lab.tree.seconds(DAEMON) - cpu,
            "adopted": len(lab.status()["groups"]),
        }, number)
        held.end()
        lab.stop(daemon)
    return table


# --- planning ---

def planning_table(lab):
    table = Table("planning", "The planner alone, a table from nothing and after one member left", [
        ("first_ms", "from nothing, ms", "{:.2f}"),
        ("one_left_ms", "one left, ms", "{:.2f}"),
        ("one_left_max_ms", "its maximum", "{:.2f}"),
    ])
    for members in (8, 64, 512, 4096):
        table.system(str(members), f"{members:,} members")
        for number in range(min(lab.options.rounds, 3)):
            lab.say(f"planning: {members} members")
            figures = lab.ask([lab.tool("plan_cost"), "--members", str(members)])
            table.add_all(str(members), {key: figures[key] for key, _, _ in table.columns}, number)
    return table


# --- the shim ---

def start_up_us(env, count):
    environment = {**os.environ, **env}
    spent = []
    for _ in range(count):
        before = time.monotonic_ns()
        os.waitpid(os.posix_spawn("/bin/true", ["true"], environment), 0)
        spent.append((time.monotonic_ns() - before) / 1000)
    return statistics.median(spent)


def start_up_table(lab):
    table = Table("start-up", "Starting /bin/true", [
        ("us", "µs", "{:,.0f}"),
        ("over_us", "over no preload", "{:,.0f}"),
    ])
    table.system("none", "no preload")
    table.system("preload", "libsubset.so, SUBSET unset")
    table.system("share", "libsubset.so, SUBSET=0/2")
    cases = [("none", {}), ("preload", {"LD_PRELOAD": lab.shim}), ("share", lab.share(0, 2))]
    for number in range(lab.options.rounds):
        lab.say(f"start-up: round {number + 1}")
        us = {name: start_up_us(env, 20 if lab.options.smoke else 200) for name, env in cases}
        for name in us:
            table.add_all(name, {"us": us[name], "over_us": us[name] - us["none"]}, number)
    return table


def run(lab):
    tables = [planning_table(lab), start_up_table(lab)]
    daemon = lab.start_daemon()
    tables.append(joining_table(lab))
    lab.stop(daemon, signal.SIGTERM)
    tables.append(scale_table(lab))
    tables.append(restart_table(lab))
    lab.stop_all()
    return tables


