# SPDX-License-Identifier: MIT
"""The paper's case where it shows: threads that sleep for lack of work. Few requests are on their way
at a time, as many as there are clients that wait for their answer."""
import pathlib

from ..compare import System, measure, rotated, start_systems, udp_load, warm_up
from ..figures import Table
from .paper import start_memcached

TITLE = "The paper's case: how many threads wake for a request"
THREADS = 4
CLIENTS_AT_ONCE = (1, 2, 4, 8, 32, 128)
COLUMNS = [
    ("rate", "requests/s", "{:,.0f}"),
    ("server_us", "server CPU µs/request", "{:.2f}"),
    ("per_cpu_second ratio", "requests per server CPU s, × unsteered", "{:.2f}"),
    ("total_us ratio", "all CPU, × unsteered", "{:.2f}"),
    ("sleeps", "times that a thread slept, a request", "{:.2f}"),
    ("p50_us", "p50 µs", "{:,.0f}"),
    ("p99_us", "p99 µs", "{:,.0f}"),
]


def sleeps_of(process):
    """How often its threads went to sleep, each of which somebody had to wake before."""
    total = 0
    for status in pathlib.Path(f"/proc/{process.pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        total += int(fields["voluntary_ctxt_switches"])
    return total


def system_of(lab, name, label, spread):
    def start(lab, system):
        system.settings["process"], serves = start_memcached(lab, system, THREADS, spread)
        return serves
    return System(name, label, start, port=lab.port(), steered=spread)


def run(lab):
    lab.start_daemon()
    table = Table("memcached-4-clients", f"memcached -t {THREADS}, UDP get; each client waits for its answer",
                  COLUMNS)
    systems = [system_of(lab, "unsteered", "one socket for all threads", False),
               system_of(lab, "dup", "ours, SUBSET_SPREAD=dup", True)]

    def load(lab, system, seconds, clients=128):
        before = sleeps_of(system.settings["process"])
        came = udp_load(lab, system.port, "memcached", seconds, flows=clients)
        system.settings["sleeps"] = (sleeps_of(system.settings["process"]) - before) / max(came["answers"], 1)
        return came

    start_systems(lab, systems)
    for system in systems:
        warm_up(lab, system, load)
    for clients in CLIENTS_AT_ONCE:
        for system in systems:
            label = f"{clients} client{'s' if clients > 1 else ''}"
            table.system(f"{system.name}-{clients}", f"{label}, {system.label}", f"{systems[0].name}-{clients}")
    for number in range(lab.options.rounds):
        for clients in rotated(CLIENTS_AT_ONCE, number):
            for system in rotated(systems, number):
                lab.say(f"{table.title}: round {number + 1} of {lab.options.rounds}, {system.label}, {clients}")
                metrics, neighbours = measure(
                    lab, system, lambda lab, system: load(lab, system, lab.options.seconds, clients))
                table.add_all(f"{system.name}-{clients}", {**metrics, "sleeps": system.settings["sleeps"]}, number)
                table.note_neighbours(number, neighbours)
    lab.stop_all()
    return [table]
