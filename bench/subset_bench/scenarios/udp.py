# SPDX-License-Identifier: MIT
"""Two instances of a real DNS server (unbound), and what may stand in front of them."""
from .. import servers
from ..compare import COLUMNS, System, compare, udp_load
from ..figures import Table

TITLE = "UDP: two instances of a DNS server"
INSTANCES = 2


def direct(lab, name, label, instances, local=False):
    """Nothing in front: the kernel's SO_REUSEPORT, which unbound sets itself."""
    def start(lab, system):
        for instance in range(instances):
            servers.unbound(lab, system.name, system.port, servers.on_cpu(lab, instance, local))
        return lambda: servers.bound_udp(system.port)
    return System(name, label, start, port=lab.port())


def start_backends(lab, group):
    """Instances on ports of their own, for what stands in front of them."""
    backends = [lab.port() for _ in range(INSTANCES)]
    for backend in backends:
        servers.unbound(lab, group, backend, lab.server_cpus)
    lab.until(lambda: all(map(servers.bound_udp, backends)), "unbound does not serve", lab.processes[-1])
    return backends


def behind(lab, name, label, front):
    def start(lab, system):
        backends = start_backends(lab, system.name)
        front(lab, system.name, system.port, backends, lab.server_cpus)
        return lambda: servers.bound_udp(system.port)
    return System(name, label, start, port=lab.port())


def behind_dnat(lab):
    def start(lab, system):
        backends = start_backends(lab, system.name)
        system.turn = lambda: servers.nftables_dnat(system.port, backends)
        return lambda: True
    return System("dnat", "nftables DNAT in front", start, port=lab.port())


def ours(lab, mode, local=False):
    def start(lab, system):
        for instance in range(INSTANCES):
            servers.unbound(lab, system.name, system.port, servers.on_cpu(lab, instance, local),
                            lab.share(instance, INSTANCES, mode=mode, match=f"udp:{system.port}"))
        lab.wait_for_members(f"udp/127.0.0.1:{system.port}", INSTANCES, lab.processes[-1])
        return lambda: True
    return System(mode, f"ours, {mode}", start, port=lab.port(), steered=True)


def in_front_table(lab):
    table = Table("udp", "unbound, clients on one CPU and servers on the others", COLUMNS, "plain")
    systems = [
        direct(lab, "one", "one instance", 1),
        direct(lab, "plain", "plain SO_REUSEPORT", INSTANCES),
        direct(lab, "plain-again", "the same again (A/A)", INSTANCES),
        behind_dnat(lab),
        behind(lab, "dnsdist", "dnsdist in front", servers.dnsdist),
        behind(lab, "nginx", "nginx stream in front", servers.nginx_stream),
        *(ours(lab, mode) for mode in ("hash", "cpu", "random")),
    ]
    return compare(lab, table, systems, lambda lab, system, seconds: udp_load(
        lab, system.port, "dns", seconds, flows=128, cpus=lab.client_cpus))


def local_table(lab):
    """Where locality can show: each CPU has a client and a server."""
    table = Table("udp-local", "unbound, a client and a server on each CPU", COLUMNS, "plain")
    systems = [
        direct(lab, "plain", "plain SO_REUSEPORT", INSTANCES, local=True),
        direct(lab, "plain-again", "the same again (A/A)", INSTANCES, local=True),
        *(ours(lab, mode, local=True) for mode in ("hash", "cpu")),
    ]
    return compare(lab, table, systems, lambda lab, system, seconds: udp_load(
        lab, system.port, "dns", seconds, flows=128, cpus=lab.cpus))


def generator_table(lab):
    """What the generator does against a service that does nothing: far more than any server here."""
    table = Table("udp-generator", "the generator against a service that only echoes", COLUMNS)

    def start(lab, system):
        lab.start([lab.tool("udp_echo"), "--at", f"127.0.0.1:{system.port}"], system.name,
                  lab.server_cpus)
        return lambda: servers.bound_udp(system.port)
    system = System("echo", "echo, one socket", start, port=lab.port())
    return compare(lab, table, [system], lambda lab, system, seconds: udp_load(
        lab, system.port, "echo", seconds, flows=128, cpus=lab.client_cpus))


def run(lab):
    tables = [generator_table(lab)]
    for make in (in_front_table, local_table):
        lab.start_daemon()
        tables.append(make(lab))
    return tables
