# SPDX-License-Identifier: MIT
"""What was to be reached, and whether it was."""
import dataclasses


@dataclasses.dataclass
class Yardstick:
    what: str
    wanted: str
    measured: str
    met: bool | None


class Missing(Exception):
    """The run did not measure it."""


class Results:
    def __init__(self, tables):
        self.tables = tables

    def figure(self, table, system, metric):
        try:
            return self.tables[table]["systems"][system]["metrics"][metric]
        except KeyError as error:
            raise Missing from error

    def median(self, table, system, metric):
        return self.figure(table, system, metric)["median"]

    def worst(self, table, system, metric):
        return self.figure(table, system, metric)["max"]

    def ratio(self, table, system, other, metric):
        """Of medians of one run, round by round: the median of the rounds' ratios."""
        above = self.figure(table, system, metric)["rounds"]
        below = self.figure(table, other, metric)["rounds"]
        ratios = sorted(a / b for a, b in zip(above, below) if b)
        if not ratios:
            raise Missing
        return ratios[len(ratios) // 2]


def at_most(limit, pattern="{:.2f}"):
    return lambda value: (pattern.format(value), value <= limit)


def at_least(limit, pattern="{:.2f}"):
    return lambda value: (pattern.format(value), value >= limit)


def _memcached(results):
    rate = results.ratio("memcached-4", "dup", "unsteered", "rate")
    cost = results.ratio("memcached-4", "dup", "unsteered", "server_us")
    return f"{rate:.2f} × requests, {cost:.2f} × CPU", rate >= 1.3 and cost <= 0.75


def _partial_load(percent):
    """At that share of what the unsteered server manages: requests for a second of CPU are CPU for a request."""
    def value(results):
        unsteered, dup = (f"{system}-{percent}" for system in ("unsteered", "dup"))
        gain = results.ratio("memcached-4-load", dup, unsteered, "per_cpu_second")
        cost = results.ratio("memcached-4-load", dup, unsteered, "server_us")
        return f"{gain:.2f} ×, {cost:.2f} × CPU", gain >= 1.3 and cost <= 0.75
    return value


def _growth(flows):
    def value(results):
        runs = [results.median("growth", f"{flows}-{slots}", "over_empty_ns") for slots in (2, 8, 64, 512, 4096)]
        return f"{min(runs):.0f} to {max(runs):.0f} ns", max(runs) - min(runs) <= 15
    return value


def _sampling(shape, way):
    return lambda results: results.median("sampling", shape, way)


# (what, what is wanted, value of Results, verdict of the value)
YARDSTICKS = [
    ("hash, CPU of servers and clients for a DNS query", "≤ 1.01 × plain SO_REUSEPORT",
     lambda r: r.ratio("udp", "hash", "plain", "total_us"), at_most(1.01, "{:.3f} ×")),
    ("queries/s against dnsdist in front", "≥ 1.5 ×",
     lambda r: r.ratio("udp", "hash", "dnsdist", "rate"), at_least(1.5, "{:.2f} ×")),
    ("queries/s against nginx stream in front", "≥ 2.7 ×",
     lambda r: r.ratio("udp", "hash", "nginx", "rate"), at_least(2.7, "{:.2f} ×")),
    ("queries lost, hash", "0",
     lambda r: r.worst("udp", "hash", "lost"), at_most(0, "{:.0f}")),
    ("TLS handshake, server CPU, the same nginx steered", "≤ nginx `reuseport`'s",
     lambda r: r.ratio("tls", "workers", "reuseport", "server_us"), at_most(1.0, "{:.3f} ×")),
    ("the same, as two nginx", "≤ nginx `reuseport`'s",
     lambda r: r.ratio("tls", "hash", "reuseport", "server_us"), at_most(1.0, "{:.3f} ×")),
    ("the same, against two nginx unsteered", "",
     lambda r: r.ratio("tls", "hash", "separate", "server_us"), at_most(1.0, "{:.3f} ×")),
    ("HAProxy in front, server CPU for a TLS handshake", "≥ 1.8 × ours",
     lambda r: r.ratio("tls", "haproxy", "workers", "server_us"), at_least(1.8, "{:.2f} ×")),
    ("the same, as two nginx", "≥ 1.8 × ours",
     lambda r: r.ratio("tls", "haproxy", "hash", "server_us"), at_least(1.8, "{:.2f} ×")),
    ("HAProxy in front, server CPU without TLS, as two nginx", "≥ 4 × ours",
     lambda r: r.ratio("http", "haproxy", "hash", "server_us"), at_least(4.0, "{:.2f} ×")),
    ("cpu mode, CPU for a connection without TLS", "≤ 0.9 × hash",
     lambda r: r.ratio("http-local", "cpu", "hash", "total_us"), at_most(0.9, "{:.2f} ×")),
    ("least, of 64 held connections on the fuller of two workers", "≤ 33",
     lambda r: r.worst("held", "least", "fullest"), at_most(33, "{:.0f}")),
    ("the program, end to end over plain SO_REUSEPORT", "≤ 85 ns",
     lambda r: r.median("selection", "hash", "ours_over_plain_ns"), at_most(85, "{:.0f} ns")),
    ("the same, a system call for each datagram", "≤ 85 ns",
     lambda r: r.median("selection", "hash-each", "ours_over_plain_ns"), at_most(85, "{:.0f} ns")),
    ("the program over an empty one", "≤ 55 ns",
     lambda r: r.median("selection", "hash", "over_empty_ns"), at_most(55, "{:.0f} ns")),
    ("the same, a system call for each datagram", "≤ 55 ns",
     lambda r: r.median("selection", "hash-each", "over_empty_ns"), at_most(55, "{:.0f} ns")),
    ("least with 64 members over an empty program", "≤ 100 ns",
     lambda r: r.median("selection", "least-64", "over_empty_ns"), at_most(100, "{:.0f} ns")),
    ("the same, a system call for each connection", "≤ 100 ns",
     lambda r: r.median("selection", "least-64-each", "over_empty_ns"), at_most(100, "{:.0f} ns")),
    ("hash over an empty program, 2 to 4,096 slots, one flow", "constant (within 15 ns)",
     _growth(1), lambda value: value),
    ("the same, 64 flows, which touch as many sockets", "constant (within 15 ns)",
     _growth(64), lambda value: value),
    ("memcached -t 4, dup spread, as fast as answers come", "1.3 to 2 × requests, 0.5 to 0.75 × CPU", _memcached,
     lambda value: value),
    *((f"the same at {percent}% of that rate: requests for a second of CPU", "1.3 to 2 ×, 0.5 to 0.75 × CPU",
       _partial_load(percent), lambda value: value) for percent in (20, 40)),
    ("memcached -t 4, requests for a second of CPU, as fast as answers come", "≥ 1.2 × unsteered",
     lambda r: r.ratio("memcached-4", "dup", "unsteered", "per_cpu_second"), at_least(1.2, "{:.2f} ×")),
    *((f"the same at {percent}% of that rate", "≥ 1.2 × unsteered",
       lambda r, percent=percent: r.ratio("memcached-4-load", f"dup-{percent}", f"unsteered-{percent}",
                                          "per_cpu_second"), at_least(1.2, "{:.2f} ×"))
      for percent in (20, 40)),
    *((f"the same, {clients} client{'s' if clients > 1 else ''} at a time", "≥ 1.2 × unsteered",
       lambda r, clients=clients: r.ratio("memcached-4-clients", f"dup-{clients}", f"unsteered-{clients}",
                                          "per_cpu_second"), at_least(1.2, "{:.2f} ×"))
      for clients in (1, 4, 32)),
    ("flows moved without need when a member leaves", "0",
     lambda r: r.worst("moves", "ours", "leave_needless"), at_most(0, "{:.2%}")),
    ("flows moved without need when it returns", "0",
     lambda r: r.worst("moves", "ours", "return_needless"), at_most(0, "{:.2%}")),
    ("max/mean, 100,000 flows over 8 members", "≤ 1.02",
     lambda r: r.median("balance", "8-100000", "ours"), at_most(1.02, "{:.3f}")),
    ("connections lost over rolling restarts", "0",
     lambda r: r.worst("loss-tcp", "ours", "lost"), at_most(0, "{:.0f}")),
    ("datagrams lost over rolling restarts, receive buffers of 4 MiB", "0",
     lambda r: r.worst("loss-udp", "ours", "lost"), at_most(0, "{:,.0f}")),
    ("the same, receive buffers of 208 KiB, the kernel's default", "0",
     lambda r: r.worst("loss-udp", "ours-small", "lost"), at_most(0, "{:,.0f}")),
    ("`bind` with its registration, median", "< 200 µs",
     lambda r: r.median("joining", "burst-1", "p50_us"), at_most(200, "{:.0f} µs")),
    ("the same, p99 with 64 clients (1,000 joins/s in all)", "< 1 ms",
     lambda r: r.median("joining", "paced-64", "p99_us"), at_most(1000, "{:,.0f} µs")),
    ("the same, p99 with 64 clients that do nothing else", "< 1 ms",
     lambda r: r.median("joining", "burst-64", "p99_us"), at_most(1000, "{:,.0f} µs")),
    ("1,000 groups of 2", "≤ 0.4 s",
     lambda r: r.median("scale", "groups", "seconds"), at_most(0.4, "{:.2f} s")),
    ("maps of a group of 2", "≤ 16 KiB",
     lambda r: r.median("scale", "groups", "map_kib"), at_most(16, "{:.1f} KiB")),
    ("2,000 members of one group", "≤ 0.15 s",
     lambda r: r.median("scale", "members", "seconds"), at_most(0.15, "{:.2f} s")),
    ("maps of a member", "≤ 1 KiB",
     lambda r: r.median("scale", "members", "map_kib"), at_most(1, "{:.2f} KiB")),
    ("planning 4,096 members", "< 10 ms",
     lambda r: r.median("planning", "4096", "first_ms"), at_most(10, "{:.2f} ms")),
    ("restart of the daemon with 1,000 groups", "< 2 s",
     lambda r: r.median("restart", "restart", "ready_s"), at_most(2, "{:.2f} s")),
    ("2,000 members sampled, one group", "< 10 ms", _sampling("one", "direct_ms"), at_most(10, "{:.1f} ms")),
    ("the same, 1,000 groups of 2", "< 10 ms", _sampling("many", "direct_ms"), at_most(10, "{:.1f} ms")),
    ("the same two, beside 10,000 other sockets", "< 10 ms", lambda r: max(
        _sampling(shape, "direct_ms")(r) for shape in ("one-foreign", "many-foreign")), at_most(10, "{:.1f} ms")),
    ("the same two, where the kernel refuses the socket iterator", "< 10 ms", lambda r: max(
        _sampling(shape, "fallback_ms")(r) for shape in ("one", "many")), at_most(10, "{:.1f} ms")),
    ("the same two, there, beside 10,000 other sockets", "< 10 ms", lambda r: max(
        _sampling(shape, "fallback_ms")(r) for shape in ("one-foreign", "many-foreign")), at_most(10, "{:.1f} ms")),
]


def judge(tables):
    results = Results(tables)
    for what, wanted, value_of, verdict in YARDSTICKS:
        try:
            measured, met = verdict(value_of(results))
        except Missing:
            measured, met = "", None
        yield Yardstick(what, wanted, measured, met)
