# SPDX-License-Identifier: MIT
"""How evenly flows divide, and which of them move when a member leaves and comes back."""
import random

from ..figures import Table

TITLE = "Balance and disruption"
SLOTS = (8, 64, 512)
FLOWS = (10, 100, 1000, 10_000, 100_000)

BALANCE_COLUMNS = [
    ("ours", "ours", "{:.2f}"),
    ("kernel", "plain SO_REUSEPORT", "{:.2f}"),
    ("theory", "a perfect hash", "{:.2f}"),
]
MOVES_COLUMNS = [
    ("leave_needed", "moved as it left", "{:.1%}"),
    ("leave_needless", "of these without need", "{:.2%}"),
    ("return_needed", "moved as it came back", "{:.1%}"),
    ("return_needless", "of these without need", "{:.2%}"),
    ("not_as_before", "elsewhere than at first", "{:.2%}"),
]


def theory(slots, flows, draws=5):
    """max/mean if each flow picked a slot at random: what no hash can beat."""
    dice = random.Random(slots * flows)

    def once():
        counts = [0] * slots
        for slot in dice.choices(range(slots), k=flows):
            counts[slot] += 1
        return max(counts) * slots / flows
    return sorted(once() for _ in range(draws))[draws // 2]


def place(lab, slots, flows, subset, salt):
    env = {"LD_PRELOAD": lab.shim, "SUBSET_SOCKET": lab.control_socket} if subset else None
    return lab.ask([lab.tool("flow_map"), "--slots", str(slots), "--flows", str(flows), "--salt", str(salt),
                    "--port", str(lab.port()), *(["--subset"] if subset else [])], env=env)


def run(lab):
    lab.start_daemon()
    most = 1000 if lab.options.smoke else FLOWS[-1]
    balance = Table("balance", "max/mean over the members", BALANCE_COLUMNS)
    moves = Table("moves", f"Flows that move; 8 members, {most:,} flows, one member leaves and returns",
                  MOVES_COLUMNS)
    moves.system("ours", "ours, hash")
    moves.system("kernel", "plain SO_REUSEPORT")
    for slots in SLOTS[:1] if lab.options.smoke else SLOTS:
        for flows in (count for count in FLOWS if count <= most):
            name = f"{slots}-{flows}"
            balance.system(name, f"{slots} members, {flows:,} flows")
            rounds = 1 if flows == FLOWS[-1] else min(3, lab.options.rounds)
            for number in range(rounds):
                lab.say(f"balance: {slots} members, {flows:,} flows, round {number + 1} of {rounds}")
                placed = {"ours": place(lab, slots, flows, True, number),
                          "kernel": place(lab, slots, flows, False, number)}
                balance.add_all(name, {system: placed[system]["max_over_mean"] for system in placed}, number)
                balance.add(name, "theory", theory(slots, flows), number)
                if slots == SLOTS[0] and flows == most:
                    for system, figures in placed.items():
                        moves.add_all(system, figures, number)
    lab.stop_all()
    return [balance, moves]
