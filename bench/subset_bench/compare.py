# SPDX-License-Identifier: MIT
"""Several systems under the same load, in turn, round after round."""
import contextlib
import dataclasses
import typing

from .figures import Table
from .lab import CLIENTS, DAEMON

COLUMNS = [
    ("rate", "requests/s", "{:,.0f}"),
    ("rate ratio", "× baseline", "{:.2f}"),
    ("server_us", "server CPU µs/request", "{:.2f}"),
    ("total_us", "all CPU µs/request", "{:.2f}"),
    ("total_us ratio", "× baseline", "{:.3f}"),
    ("p99_us", "p99 µs", "{:,.0f}"),
    ("lost", "lost", "{:,.0f}"),
    ("client_busy", "client busy", "{:.0%}"),
]


@dataclasses.dataclass
class System:
    """`start(lab, system)` starts its servers in the control group of its name, and gives a function
    that is true when they serve."""
    name: str
    label: str
    start: typing.Callable
    port: int = 0
    steered: bool = False  # the daemon's CPU time is its own
    settings: dict = dataclasses.field(default_factory=dict)
    # What holds during its turns alone, as a context manager: whatever would weigh on the others too.
    turn: typing.Callable = contextlib.nullcontext

    @property
    def groups(self):
        return [self.name, DAEMON] if self.steered else [self.name]


def udp_load(lab, port, protocol, seconds, flows=128, rate=0, cpus=None, timeout_ms=250):
    return lab.ask([lab.tool("udp_load"), "--to", f"127.0.0.1:{port}", "--protocol", protocol,
                    "--flows", str(flows), "--seconds", str(seconds), "--rate", str(rate),
                    "--timeout-ms", str(timeout_ms), *_pinned(cpus)])


def tcp_load(lab, port, seconds, tls=False, concurrent=32, rate=0, cpus=None, timeout_ms=1000):
    return lab.ask([lab.tool("tcp_load"), "--to", f"127.0.0.1:{port}", *(["--tls"] if tls else []),
                    "--concurrent", str(concurrent), "--seconds", str(seconds), "--rate", str(rate),
                    "--timeout-ms", str(timeout_ms), *_pinned(cpus)])


def _pinned(cpus):
    return ["--cpus", ",".join(map(str, cpus))] if cpus else []


def start_systems(lab, systems):
    for system in systems:
        lab.say(f"starting {system.label}")
        serves = system.start(lab, system)
        lab.until(serves, f"{system.label} does not serve",
                  lab.processes[-1] if lab.processes else None)


def measure(lab, system, load):
    """One run of load(lab, system); what it cost for each answer."""
    with system.turn(), lab.account(system.groups) as used:
        came = load(lab, system)
    answers = max(came["answers"], 1)
    servers = sum(used[group] for group in system.groups)
    metrics = {
        "rate": came["rate"],
        "p50_us": came.get("p50_us", 0),
        "p99_us": came.get("p99_us", 0),
        "lost": came["lost"],
        "wrong": came["wrong"],
        "server_us": servers / answers * 1e6,
        "client_us": used[CLIENTS] / answers * 1e6,
        "total_us": (servers + used[CLIENTS] + used["softirq"]) / answers * 1e6,
        "per_cpu_second": answers / max(servers, 1e-6),
        "client_busy": came["busy"],
        "server_busy": servers / used["wall"],
    }
    return metrics, used["neighbours"]


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


def warm_up(lab, system, load):
    """Not counted: caches, the first allocations; whatever stands in front may still look for what is
    behind it."""
    with system.turn():
        lab.until(lambda: load(lab, system, 0.05)["answers"] > 0, f"{system.label} does not answer",
                  lab.processes[-1])


def compare(lab, table: Table, systems, load):
    """All systems are started, then take turns: who is first changes from round to round."""
    for system in systems:
        table.system(system.name, system.label)
    start_systems(lab, systems)
    for system in systems:
        warm_up(lab, system, load)
    for number in range(lab.options.rounds):
        for system in rotated(systems, number):
            lab.say(f"{table.title}: round {number + 1} of {lab.options.rounds}, {system.label}")
            metrics, neighbours = measure(
                lab, system, lambda lab, system: load(lab, system, lab.options.seconds))
            table.add_all(system.name, metrics, number)
            table.note_neighbours(number, neighbours)
    lab.stop_all()
    return table
