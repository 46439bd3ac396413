# SPDX-License-Identifier: MIT
"""What is lost when servers are restarted under load, as each is restarted by its own means."""
import signal
import subprocess
import threading
import time

from .. import servers
from ..compare import tcp_load, udp_load
from ..figures import Table
from ..lab import Failed

TITLE = "Loss over restarts"
INSTANCES = 2
CONNECTIONS_A_SECOND = 2000
DATAGRAMS_A_SECOND = 10_000

COLUMNS = [
    ("lost", "lost in all", "{:,.0f}"),
    ("lost_each", "a restart", "{:.1f}"),
    ("answers", "answered", "{:,.0f}"),
    ("refused", "refused", "{:,.0f}"),
    ("reset", "reset", "{:,.0f}"),
    ("timeouts", "no answer in time", "{:,.0f}"),
]


class Restarted:
    """A service with a way of its own to be restarted."""

    def __init__(self, lab, name, label, port):
        self.lab, self.name, self.label, self.port = lab, name, label, port

    def start(self):
        raise NotImplementedError

    def restart(self):
        raise NotImplementedError


class PlainPair(Restarted):
    """Two processes by SO_REUSEPORT, stopped and started one after the other: a package upgrade."""

    def __init__(self, lab, name, label, port, launch, stop_signal, bound):
        super().__init__(lab, name, label, port)
        self.launch, self.stop_signal, self.bound = launch, stop_signal, bound
        self.pair = []

    def start(self):
        self.pair = [self.launch(instance) for instance in range(INSTANCES)]
        self.lab.until(lambda: self.bound(self.port), f"{self.label} does not serve", self.pair[0])
        time.sleep(0.3)

    def restart(self):
        for instance in range(INSTANCES):
            self.lab.stop(self.pair[instance], self.stop_signal)
            self.pair[instance] = self.launch(instance)
            time.sleep(0.15)


class Reloaded(Restarted):
    """A master that makes new workers on a signal."""

    def __init__(self, lab, name, label, port, launch, number):
        super().__init__(lab, name, label, port)
        self.launch, self.number = launch, number
        self.master = None

    def start(self):
        self.master = self.launch()
        self.lab.until(lambda: servers.listens(self.port), f"{self.label} does not serve", self.master)

    def restart(self):
        self.master.send_signal(self.number)
        time.sleep(0.4)


class Rolled(Restarted):
    """`subset run`, told by SIGHUP to restart its instances one at a time."""

    def __init__(self, lab, name, label, port, protocol, command):
        super().__init__(lab, name, label, port)
        self.group = f"{protocol}/127.0.0.1:{port}"
        self.match = f"{protocol}:{port}"
        self.command = command
        self.runner = None

    def start(self):
        self.runner = self.lab.start(
            [self.lab.subset, "run", "-n", str(INSTANCES), "--match", self.match, "--restart", "--",
             *self.command], self.name, None, {"SUBSET_SOCKET": self.lab.control_socket})
        self.lab.wait_for_members(self.group, INSTANCES, self.runner)

    def pids(self):
        status = self.lab.status() or {"groups": []}
        return {member["pid"] for group in status["groups"] if group["id"] == self.group
                for member in group["members"] if member["state"] == "active"}

    def restart(self):
        before = self.pids()
        self.runner.send_signal(signal.SIGHUP)

        def replaced():
            now = self.pids()
            return len(now) == INSTANCES and not now & before
        self.lab.until(replaced, "the instances were not all restarted", self.runner, 30)


def restart_under_load(lab, service, load, restarts):
    """All restarts while one load runs; the load ends a little after the last."""
    service.start()
    came, trouble = {}, []
    finished = threading.Event()

    def run_load():
        try:
            while not finished.is_set():
                for key, value in load(service.port).items():
                    came[key] = came.get(key, 0) + value
        except (Failed, subprocess.SubprocessError) as error:
            trouble.append(error)
    thread = threading.Thread(target=run_load)
    thread.start()
    try:
        time.sleep(0.3)
        for number in range(restarts):
            lab.say(f"loss: {service.label}, restart {number + 1} of {restarts}")
            service.restart()
    finally:
        finished.set()
        thread.join()
    if trouble:
        raise trouble[0]
    came["lost_each"] = came["lost"] / restarts
    lab.stop_all()
    return came


def tcp_services(lab):
    def launch(port):
        return lambda instance: servers.nginx(lab, "plain", port, None, workers=0, tag=str(instance),
                                              env=lab.plain_share(INSTANCES))
    plain, nginx, proxy, ours = (lab.port() for _ in range(4))
    backends = [lab.port() for _ in range(INSTANCES)]

    def launch_haproxy():
        for backend in backends:
            servers.nginx(lab, "haproxy", backend, None, workers=0)
        lab.until(lambda: all(map(servers.listens, backends)), "nginx does not listen")
        return servers.haproxy(lab, "haproxy", proxy, backends, lab.cpus)
    return [
        PlainPair(lab, "plain", "plain SO_REUSEPORT, stop (SIGQUIT) and start", plain, launch(plain),
                  signal.SIGQUIT, servers.listens),
        Reloaded(lab, "nginx", "nginx `reuseport`, reload", nginx,
                 lambda: servers.nginx(lab, "nginx", nginx, None, workers=INSTANCES, reuseport=True),
                 signal.SIGHUP),
        Reloaded(lab, "haproxy", "HAProxy in front, reload of it", proxy, launch_haproxy, signal.SIGUSR2),
        Rolled(lab, "ours", "ours, `subset run` and SIGHUP", ours, "tcp",
               ["nginx", "-p", str(lab.scratch), "-c", nginx_config(lab, ours)]),
    ]


def nginx_config(lab, port):
    """A single process that finishes what it accepted when told to stop."""
    process = servers.nginx(lab, "unused", port, None, workers=0, tag="run")
    lab.stop(process)
    return str(lab.scratch / f"nginx-{port}-run.conf")


# What unbound's manual advises for busy servers: it binds well before it reads.
LARGE_BUFFER = "4m"


def udp_services(lab):
    def plain(name, label, buffer):
        port = lab.port()
        return PlainPair(lab, name, label, port,
                         lambda _: servers.unbound(lab, name, port, None, buffer=buffer),
                         signal.SIGTERM, servers.bound_udp)

    def ours(name, label, buffer):
        port = lab.port()
        return Rolled(lab, name, label, port, "udp", servers.unbound_command(lab, port, buffer))
    return [
        plain("plain", "plain SO_REUSEPORT, stop and start", LARGE_BUFFER),
        ours("ours", "ours, `subset run` and SIGHUP", LARGE_BUFFER),
        plain("plain-small", "plain, receive buffers of 208 KiB", "0"),
        ours("ours-small", "ours, receive buffers of 208 KiB", "0"),
    ]


def loss_table(lab, ident, title, services, load):
    table = Table(ident, title, COLUMNS)
    for service in services:
        table.system(service.name, service.label)
        lab.start_daemon()
        came = restart_under_load(lab, service, load, lab.options.restarts)
        table.add_all(service.name, {key: came[key] for key, _, _ in COLUMNS if key in came})
    table.notes.append(f"{lab.options.restarts} restarts of each.")
    return table


def run(lab):
    seconds = min(0.5, lab.options.seconds)
    return [
        loss_table(lab, "loss-tcp", f"HTTP, {CONNECTIONS_A_SECOND:,} connections a second", tcp_services(lab),
                   lambda port: tcp_load(lab, port, seconds, concurrent=512, rate=CONNECTIONS_A_SECOND)),
        loss_table(lab, "loss-udp", f"DNS, {DATAGRAMS_A_SECOND:,} questions a second; receive buffers of 4 MiB unless it "
                   "says otherwise", udp_services(lab),
                   lambda port: udp_load(lab, port, "dns", seconds, flows=512, rate=DATAGRAMS_A_SECOND,
                                         timeout_ms=2000)),
    ]
