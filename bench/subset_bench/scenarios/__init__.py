# SPDX-License-Identifier: MIT
"""One module a scenario: run(lab) gives its tables."""
from . import balance, control, loss, paper, sampling, selection, tcp, udp, wakeups

ALL = {
    "udp": udp,
    "tcp": tcp,
    "paper": paper,
    "wakeups": wakeups,
    "selection": selection,
    "balance": balance,
    "loss": loss,
    "control": control,
    "sampling": sampling,
}
