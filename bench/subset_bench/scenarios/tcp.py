# SPDX-License-Identifier: MIT
"""Short connections to two nginx workers: TLS handshakes with one small request, and plain HTTP."""
import socket
import time

from .. import servers
from ..compare import COLUMNS, System, compare, tcp_load
from ..figures import Table

TITLE = "TCP: TLS handshakes and short HTTP over two workers"
INSTANCES = 2


def direct(lab, name, label, tls, workers, reuseport=False):
    def start(lab, system):
        servers.nginx(lab, system.name, system.port, lab.server_cpus, tls, workers, reuseport)
        return lambda: servers.listens(system.port)
    return System(name, label, start, port=lab.port())


def behind_haproxy(lab, tls):
    def start(lab, system):
        backends = [lab.port() for _ in range(INSTANCES)]
        for backend in backends:
            servers.nginx(lab, system.name, backend, lab.server_cpus, tls, workers=0)
        lab.until(lambda: all(map(servers.listens, backends)), "nginx does not listen",
                  lab.processes[-1])
        servers.haproxy(lab, system.name, system.port, backends, lab.server_cpus)
        return lambda: servers.listens(system.port)
    return System("haproxy", "HAProxy in front", start, port=lab.port())


def separate(lab, name, label, tls, local, mode=None):
    """Two nginx of one process each, by our share or by plain SO_REUSEPORT, which our library sets."""
    def start(lab, system):
        for instance in range(INSTANCES):
            settings = {"match": f"tcp:{system.port}"}
            env = (lab.share(instance, INSTANCES, mode=mode, **settings) if mode
                   else lab.plain_share(INSTANCES))
            servers.nginx(lab, system.name, system.port, servers.on_cpu(lab, instance, local), tls,
                          workers=0, env=env, tag=str(instance))
        if mode:
            lab.wait_for_members(f"tcp/127.0.0.1:{system.port}", INSTANCES, lab.processes[-1])
        return lambda: servers.listens(system.port)
    return System(name, label, start, port=lab.port(), steered=mode is not None)


def separate_unsteered(lab, tls):
    """As the processes of ours, and without our library too: what it costs that they are separate."""
    def start(lab, system):
        for instance in range(INSTANCES):
            servers.nginx(lab, system.name, system.port, lab.server_cpus, tls, workers=0, reuseport=True,
                          tag=str(instance))
        return lambda: servers.listens(system.port)
    return System("separate", "two nginx of one process, `reuseport`", start, port=lab.port())


def ours_on_workers(lab, tls):
    """One nginx as in the baseline: its workers' listeners are the members."""
    def start(lab, system):
        servers.nginx(lab, system.name, system.port, lab.server_cpus, tls, INSTANCES, reuseport=True,
                      env=lab.share(0, 1, mode="hash", match=f"tcp:{system.port}"))
        lab.wait_for_members(f"tcp/127.0.0.1:{system.port}", INSTANCES, lab.processes[-1])
        return lambda: servers.listens(system.port)
    return System("workers", "ours, hash, on nginx `reuseport`", start, port=lab.port(), steered=True)


def ours(lab, mode, tls, local=False):
    return separate(lab, mode, f"ours, {mode}", tls, local, mode)


def in_front_table(lab, tls):
    what = "TLS handshake and a request" if tls else "HTTP, a connection a request"
    table = Table("tls" if tls else "http", f"{what}, clients on one CPU and servers on the others",
                  COLUMNS, "reuseport")
    systems = [
        direct(lab, "one", "one worker", tls, 1),
        direct(lab, "shared", "nginx, shared listener", tls, INSTANCES),
        direct(lab, "reuseport", "nginx `reuseport`", tls, INSTANCES, reuseport=True),
        direct(lab, "reuseport-again", "the same again (A/A)", tls, INSTANCES, reuseport=True),
        behind_haproxy(lab, tls),
        separate_unsteered(lab, tls),
        ours_on_workers(lab, tls),
        *(ours(lab, mode, tls) for mode in ("hash", "cpu", "least")),
    ]
    return compare(lab, table, systems, lambda lab, system, seconds: tcp_load(
        lab, system.port, seconds, tls, cpus=lab.client_cpus))


def local_table(lab, tls):
    table = Table("tls-local" if tls else "http-local",
                  f"{'TLS' if tls else 'HTTP'}, a client and a worker on each CPU", COLUMNS, "hash")
    systems = [
        separate(lab, "plain", "plain SO_REUSEPORT", tls, local=True),
        *(ours(lab, mode, tls, local=True) for mode in ("hash", "cpu")),
        separate(lab, "hash-again", "ours, hash again (A/A)", tls, local=True, mode="hash"),
    ]
    return compare(lab, table, systems, lambda lab, system, seconds: tcp_load(
        lab, system.port, seconds, tls, cpus=lab.cpus))


# --- connections that are held ---

HELD = 64


def held_share(lab, system):
    """Of 64 connections that stay open, those on the fuller of two workers."""
    held = [socket.create_connection(("127.0.0.1", system.port), timeout=2) for _ in range(HELD)]
    group = f"tcp/127.0.0.1:{system.port}"
    time.sleep(0.05)
    status = next(g for g in lab.status()["groups"] if g["id"] == group)
    fullest = max(member["open_connections"] for member in status["members"])
    for connection in held:
        connection.close()

    def empty():
        now = next(g for g in lab.status()["groups"] if g["id"] == group)
        return sum(member["open_connections"] for member in now["members"]) == 0
    lab.until(empty, "connections that were closed are still counted")
    return fullest


def held_table(lab):
    table = Table("held", f"{HELD} connections held over two workers", [
        ("fullest", "on the fuller worker", "{:.0f}"),
        ("over_mean", "× mean", "{:.2f}"),
    ], "hash")
    systems = [ours(lab, mode, tls=False) for mode in ("hash", "least")]
    for system in systems:
        table.system(system.name, system.label)
        lab.until(system.start(lab, system), f"{system.label} does not serve")
    for number in range(lab.options.rounds):
        for system in systems:
            fullest = held_share(lab, system)
            table.add_all(system.name, {"fullest": fullest, "over_mean": fullest / (HELD / INSTANCES)},
                          number)
    lab.stop_all()
    return table


def run(lab):
    tables = []
    for make, *arguments in ((in_front_table, True), (in_front_table, False), (local_table, False),
                             (local_table, True), (held_table,)):
        lab.start_daemon()
        tables.append(make(lab, *arguments))
    return tables
