# SPDX-License-Identifier: MIT
"""What it costs the daemon to look at its members, and to render what it has seen."""
import re
import sys
import time
import urllib.request

from ..figures import Table
from ..lab import CLIENTS, DAEMON
from .control import Held

TITLE = "Looking at the members"
FOREIGN_SOCKETS = 10000
# Keeps so many sockets of its own until it is killed.
FOREIGN = """
import resource, signal, socket, sys
number = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, number + 100))
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
print("open", flush=True)
signal.pause()
"""


def foreign_sockets(lab, number):
    process = lab.start([sys.executable, "-c", FOREIGN, str(number)], CLIENTS,
                        output=f"foreign-{time.monotonic_ns()}.log")
    lab.until(process.log.read_text, "no sockets", process, 30)
    return process


def sample_ms(lab):
    """What the daemon says that its look before the last answer took: each status is a new look."""
    lab.status()
    with urllib.request.urlopen("http://127.0.0.1:9753/metrics", timeout=10) as answer:
        found = re.search(r"^subset_sample_duration_seconds ([\d.e-]+)$", answer.read().decode(), re.MULTILINE)
    return float(found.group(1)) * 1000


def sampling_table(lab):
    """From the iterator to a whole snapshot, with the daemon's two ways of finding its sockets. What the machine
    does beside is not what a look costs: of some looks the fastest."""
    groups, members = (50, 100) if lab.options.smoke else (1000, 2000)
    foreign = 100 if lab.options.smoke else FOREIGN_SOCKETS
    looks = 3 if lab.options.smoke else 15
    table = Table("sampling", f"Looking at all members, the fastest of {looks} looks", [
        ("direct_ms", "socket iterator, ms", "{:.1f}"),
        ("fallback_ms", "where that is refused: all descriptors, ms", "{:.1f}"),
        ("metrics_ms", "made into metrics, ms", "{:.1f}"),
        ("json_ms", "made into JSON, ms", "{:.1f}"),
    ])
    shapes = [("one", f"{members:,} members of one group", 1, members), ("many", f"{groups:,} groups of 2", groups, 2)]
    ways = [("direct_ms", None), ("fallback_ms", {"LD_PRELOAD": lab.tool("librefuse_iterators.so")})]
    for name, label, _, _ in shapes:
        table.system(name, label)
        table.system(f"{name}-foreign", f"the same beside {foreign:,} other sockets")
    for number in range(min(lab.options.rounds, 3)):
        for name, label, each, size in shapes:
            lab.say(f"sampling: round {number + 1}, {label}")
            alone, beside = {}, {}
            for way, env in ways:
                daemon = lab.start_daemon(env=env)
                held = Held(lab, "--groups", each, "--members", size)
                with lab.account([DAEMON]) as used:
                    alone[way] = min(sample_ms(lab) for _ in range(looks))
                    others = foreign_sockets(lab, foreign)
                    beside[way] = min(sample_ms(lab) for _ in range(looks))
                table.note_neighbours(number, used["neighbours"])
                lab.stop(others)
                held.end()
                lab.stop(daemon)
            figures = lab.ask([lab.tool("render_cost"), "--groups", str(each), "--members", str(size)])
            alone.update({key: figures[key] for key in ("metrics_ms", "json_ms")})
            table.add_all(name, alone, number)
            table.add_all(f"{name}-foreign", beside, number)
    return table


def run(lab):
    return [sampling_table(lab)]
