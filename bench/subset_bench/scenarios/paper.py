# SPDX-License-Identifier: MIT
"""The paper's own case: threads of one UDP server that contend on one socket; and a service of which
one instance is stalled or slow."""
import signal
import time

from .. import servers
from ..compare import COLUMNS, System, compare, measure, rotated, start_systems, udp_load, warm_up
from ..figures import Table

TITLE = "The paper's case: memcached over UDP; a stalled or slow instance"

# What memcached's threads cost shows in requests for each second of the server's CPU.
MEMCACHED_COLUMNS = [
    *COLUMNS[:3],
    ("server_us ratio", "× baseline", "{:.2f}"),
    ("per_cpu_second", "requests per server CPU s", "{:,.0f}"),
    ("per_cpu_second ratio", "× baseline", "{:.2f}"),
    *COLUMNS[5:],
]


def start_memcached(lab, system, threads, spread):
    """Its process, and a function that is true when it serves."""
    env = lab.share(0, 1, spread="dup", match=f"udp:{system.port}") if spread else None
    process = servers.memcached(lab, system.name, system.port, threads, env)
    return process, lambda: servers.bound_udp(system.port)


def memcached_system(lab, name, label, threads, spread):
    def start(lab, system):
        return start_memcached(lab, system, threads, spread)[1]
    return System(name, label, start, port=lab.port(), steered=spread)


def memcached_table(lab, threads):
    table = Table(f"memcached-{threads}", f"memcached -t {threads}, UDP get", MEMCACHED_COLUMNS,
                  baseline="unsteered")
    systems = [
        memcached_system(lab, "unsteered", "one socket for all threads", threads, False),
        memcached_system(lab, "unsteered-again", "the same again (A/A)", threads, False),
        memcached_system(lab, "dup", "ours, SUBSET_SPREAD=dup", threads, True),
    ]
    return compare(lab, table, systems, lambda lab, system, seconds: udp_load(
        lab, system.port, "memcached", seconds, flows=128))


# Percent of what the unsteered server manages.
LOADS = (5, 10, 20, 40, 60, 80)
LOAD_COLUMNS = [
    ("rate", "requests/s", "{:,.0f}"),
    ("server_us", "server CPU µs/request", "{:.2f}"),
    ("server_us ratio", "× unsteered", "{:.2f}"),
    ("per_cpu_second ratio", "requests per server CPU s, × unsteered", "{:.2f}"),
    ("total_us ratio", "all CPU, × unsteered", "{:.2f}"),
    ("p50_us", "p50 µs", "{:,.0f}"),
    ("p99_us", "p99 µs", "{:,.0f}"),
    ("lost", "lost or not sent in time", "{:,.0f}"),
]


def partial_load_table(lab, threads):
    """At a fixed rate. Threads of a saturated server hardly sleep, so that hardly any is woken for
    nothing: what waking them costs shows below that."""
    table = Table(f"memcached-{threads}-load", f"memcached -t {threads}, UDP get at a fixed rate", LOAD_COLUMNS)
    systems = [memcached_system(lab, "unsteered", "one socket for all threads", threads, False),
               memcached_system(lab, "dup", "ours, SUBSET_SPREAD=dup", threads, True)]

    def load(lab, system, seconds, rate=0):
        came = udp_load(lab, system.port, "memcached", seconds, flows=128, rate=rate)
        return {**came, "lost": came["lost"] + came["skipped"]}

    start_systems(lab, systems)
    for system in systems:
        warm_up(lab, system, load)
    capacity = load(lab, systems[0], lab.options.seconds)["rate"]
    for percent in LOADS:
        for system in systems:
            table.system(f"{system.name}-{percent}", f"{percent}% of {capacity:,.0f}/s, {system.label}",
                         f"{systems[0].name}-{percent}")
    for number in range(lab.options.rounds):
        for percent in rotated(LOADS, number):
            for system in rotated(systems, number):
                lab.say(f"{table.title}: round {number + 1} of {lab.options.rounds}, {system.label}, {percent}%")
                metrics, neighbours = measure(lab, system, lambda lab, system: load(
                    lab, system, lab.options.seconds, capacity * percent / 100))
                table.add_all(f"{system.name}-{percent}", metrics, number)
                table.note_neighbours(number, neighbours)
    lab.stop_all()
    return table


# --- a stalled or slow instance ---

INSTANCES = 4
TROUBLE_COLUMNS = [
    ("answered", "answered", "{:.1%}"),
    ("p50_us", "p50 µs", "{:,.0f}"),
    ("p99_us", "p99 µs", "{:,.0f}"),
    ("lost", "lost", "{:,.0f}"),
]


def echo_system(lab, name, label, share=None):
    def start(lab, system):
        system.settings["processes"] = [
            lab.start([lab.tool("udp_echo"), "--at", f"127.0.0.1:{system.port}",
                       *([] if share else ["--reuseport"]),
                       "--work-us", str(system.settings["work_us"][instance])],
                      system.name, None, lab.share(instance, INSTANCES, **share) if share else None)
            for instance in range(INSTANCES)
        ]
        if not share:
            return lambda: servers.bound_udp(system.port)
        lab.wait_for_members(f"udp/127.0.0.1:{system.port}", INSTANCES)
        return lambda: True
    return System(name, label, start, port=lab.port(), steered=share is not None)


def stall(lab, system, reaction):
    """One of four is stopped (SIGSTOP) while questions come at a fixed rate; an operator, or whoever
    watches the queue, may react."""
    victim = system.settings["processes"][1]
    victim.send_signal(signal.SIGSTOP)
    time.sleep(0.02)
    undo = reaction(lab, system)
    came = udp_load(lab, system.port, "echo", lab.options.seconds, flows=512, rate=8000, timeout_ms=100)
    victim.send_signal(signal.SIGCONT)
    undo()
    time.sleep(0.05)
    return came


def trouble_table(lab, ident, title, work_us, disturb, systems):
    table = Table(ident, title, TROUBLE_COLUMNS, baseline="plain")
    lab.start_daemon()
    for system, _ in systems:
        system.settings["work_us"] = work_us
        table.system(system.name, system.label)
        lab.until(system.start(lab, system), f"{system.label} does not serve")
    for number in range(lab.options.rounds):
        for system, reaction in rotated(systems, number):
            lab.say(f"{title}: round {number + 1} of {lab.options.rounds}, {system.label}")
            came = disturb(lab, system, reaction)
            asked = came["sent"] + came["skipped"]
            table.add_all(system.name, {
                "answered": came["answers"] / max(asked, 1),
                "p50_us": came.get("p50_us", 0),
                "p99_us": came.get("p99_us", 0),
                "lost": came["lost"] + came["skipped"],
            }, number)
    lab.stop_all()
    return table


# What is done about it, and undone again.

def nothing(_lab, _system):
    return lambda: None


def drain(lab, system):
    group = f"udp/127.0.0.1:{system.port}"
    lab.command("drain", group, "1")
    return lambda: lab.command("resume", group, "1")


def lighten(lab, system):
    group = f"udp/127.0.0.1:{system.port}"
    lab.command("weight", group, "1", "10")
    return lambda: lab.command("weight", group, "1", "100")


def slow_load(lab, system, reaction):
    undo = reaction(lab, system)
    came = udp_load(lab, system.port, "echo", lab.options.seconds, flows=512, rate=4000, timeout_ms=100)
    undo()
    return came


def run(lab):
    tables = []
    for threads in (2, 4):
        lab.start_daemon()
        tables.append(memcached_table(lab, threads))
    lab.start_daemon()
    tables.append(partial_load_table(lab, 4))
    tables.append(trouble_table(
        lab, "stalled", "one of four instances is stopped; 8,000 questions a second", [0] * INSTANCES,
        stall, [
            (echo_system(lab, "plain", "plain SO_REUSEPORT"), nothing),
            (echo_system(lab, "hash", "ours, hash, nobody reacts", {"mode": "hash"}), nothing),
            (echo_system(lab, "drain", "ours, hash, `subset drain` of it", {"mode": "hash"}), drain),
        ]))
    tables.append(trouble_table(
        lab, "slow", "one of four instances takes 2 ms an answer, the others 20 µs; 4,000 a second",
        [20, 2000, 20, 20], slow_load, [
            (echo_system(lab, "plain", "plain SO_REUSEPORT"), nothing),
            (echo_system(lab, "hash", "ours, hash, nobody reacts", {"mode": "hash"}), nothing),
            (echo_system(lab, "weight", "ours, hash, `subset weight` 10 for it", {"mode": "hash"}), lighten),
        ]))
    return tables
