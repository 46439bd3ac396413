# SPDX-License-Identifier: MIT
"""One module a scenario: run(lab) gives its tables."""
from . import balance, control, loss, paper, selection, tcp, udp

ALL = {
    "udp": udp,
    "tcp": tcp,
    "paper": paper,
    "selection": selection,
    "balance": balance,
    "loss": loss,
    "control": control,
}
