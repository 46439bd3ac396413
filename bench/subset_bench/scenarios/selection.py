# SPDX-License-Identifier: MIT
"""What picking a member costs: in the program, and of a datagram's whole way."""
import contextlib
import json
import pathlib
import subprocess

from ..figures import Table
from ..lab import CLIENTS

TITLE = "The cost of a selection"

COST_COLUMNS = [
    ("ours_run_ns", "ns a run", "{:.0f}"),
    ("empty_run_ns", "empty program", "{:.0f}"),
    ("over_empty_ns", "over empty", "{:.0f}"),
    ("ours_over_plain_ns", "over plain SO_REUSEPORT, end to end", "{:.0f}"),
    ("empty_over_plain_ns", "the empty program, end to end", "{:.0f}"),
    ("plain_ns", "plain, end to end", "{:.0f}"),
    ("instructions", "BPF instructions", "{:,.0f}"),
    ("jited_bytes", "machine code, bytes", "{:,.0f}"),
]
UDP_MODES = ("hash", "source", "random", "cpu", "numa")
LEAST_SLOTS = (2, 64, 65)
GROWTH = (2, 8, 64, 512, 4096)
GROWTH_FLOWS = (64, 1)


def program_size(lab):
    """Of the one steering program that is pinned, of the group that the probe has just made."""
    pins = list(lab.pins.glob("*/group-*/steer-*"))
    if not pins:
        return {}
    newest = max(pins, key=lambda pin: pin.stat().st_mtime)
    shown = subprocess.run(["bpftool", "--json", "prog", "show", "pinned", newest],
                           capture_output=True, text=True, check=False)
    program = json.loads(shown.stdout or "{}")
    return {"instructions": program["bytes_xlated"] / 8, "jited_bytes": program["bytes_jited"]}


# How its traffic comes: 64 datagrams, or connections, by one system call, or by one for each.
KINDS = {"batch": [], "each": ["--one-by-one"], "tcp": ["--tcp"], "tcp-each": ["--tcp", "--one-by-one"]}


def probe(lab, mode, slots, kind, turns, flows=64):
    """Its group is gone with it; the size is looked at while it runs."""
    command = [lab.tool("select_cost"), "--slots", str(slots), "--turns", str(turns), "--flows", str(flows),
               "--port", str(lab.port(3)), *KINDS[kind]]
    env = {"LD_PRELOAD": lab.shim, "SUBSET_SOCKET": lab.control_socket, "SUBSET_MODE": mode}
    figures = lab.ask(command, CLIENTS, lab.client_cpus, env, timeout=120)
    figures.update(program_size(lab))
    return {metric: figures[metric] for metric, _, _ in COST_COLUMNS if metric in figures}


TIMED = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")


@contextlib.contextmanager
def untimed():
    """Where an administrator has the kernel time every program, "end to end" would be with two reads
    of the clock. The probe asks for them itself when it wants them."""
    before = TIMED.read_text(encoding="ascii")
    TIMED.write_text("0", encoding="ascii")
    try:
        yield
    finally:
        TIMED.write_text(before, encoding="ascii")


def cost_table(lab, ident, title, cases):
    """cases: (name, label, mode, slots, kind), and how many flows if not 64."""
    table = Table(ident, title, COST_COLUMNS)
    for name, label, *_ in cases:
        table.system(name, label)
    turns = max(20, int(1000 * lab.options.seconds))
    for number in range(lab.options.rounds):
        for name, label, mode, slots, kind, *flows in cases:
            lab.say(f"{title}: round {number + 1} of {lab.options.rounds}, {label}")
            fewer = 4 if "--tcp" in KINDS[kind] else 1
            with lab.account([]) as used:
                table.add_all(name, probe(lab, mode, slots, kind, turns // fewer, *flows), number)
            table.note_neighbours(number, used["neighbours"])
    return table


def run(lab):
    with untimed():
        return cost_tables(lab)


def cost_tables(lab):
    lab.start_daemon()
    modes = [(mode, mode, mode, 2, "batch") for mode in UDP_MODES]
    modes.append(("hash-each", "hash, a system call for each datagram", "hash", 2, "each"))
    connections = [(f"{mode}-{slots}", f"{mode}, {slots} listeners (TCP)", mode, slots, "tcp")
                   for mode, slots in (("hash", 64), *(("least", slots) for slots in LEAST_SLOTS))]
    connections.append(("least-64-each", "least, 64 listeners, a system call for each connection", "least", 64,
                        "tcp-each"))
    growth = [(f"{flows}-{slots}", f"{slots:,} slots, {flows} flow{'s' if flows > 1 else ''}", "hash", slots,
               "batch", flows)
              for flows in GROWTH_FLOWS for slots in (GROWTH[:2] if lab.options.smoke else GROWTH)]
    tables = [
        cost_table(lab, "selection", "The program, by mode (2 members unless it says otherwise)",
                   modes + connections),
        cost_table(lab, "growth", "Hash mode, by slots", growth),
    ]
    lab.stop_all()
    return tables
