# SPDX-License-Identifier: MIT
"""Figures of interleaved rounds: medians with minimum and maximum, and ratios against the baseline
of the same round, which is what noise of the machine disturbs least."""
import statistics


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


class Table:
    """systems × metrics × rounds.

    `columns`: (metric, heading, format) of what the report shows; a metric with " ratio" behind its
    name is shown as its ratio to the baseline.
    """

    def __init__(self, ident, title, columns, baseline=None):
        self.ident = ident
        self.title = title
        self.columns = columns
        self.baseline = baseline
        self.labels = {}
        self.baselines = {}  # of systems that are held against another one than the table's
        self.rounds = {}  # (system, metric) -> {round: value}
        self.flagged = set()  # rounds in which neighbours were busy
        self.neighbours = {}  # round -> share of the machine
        self.notes = []

    def system(self, name, label, baseline=None):
        self.labels[name] = label
        if baseline:
            self.baselines[name] = baseline

    def add(self, system, metric, value, round_number=0):
        self.rounds.setdefault((system, metric), {})[round_number] = value

    def add_all(self, system, metrics, round_number=0):
        for metric, value in metrics.items():
            self.add(system, metric, value, round_number)

    def note_neighbours(self, round_number, share):
        self.neighbours[round_number] = max(share, self.neighbours.get(round_number, 0))
        if share > 0.10:
            self.flagged.add(round_number)

    def figure(self, system, metric):
        values = self.rounds[system, metric]
        out = spread(list(values.values()))
        base = self.rounds.get((self.baselines.get(system, self.baseline), metric))
        if base:
            ratios = [value / base[number] for number, value in values.items() if base.get(number)]
            if ratios:
                out["ratio"] = spread(ratios)
        out["rounds"] = [values[number] for number in sorted(values)]
        return out

    def document(self):
        return {
            "id": self.ident,
            "title": self.title,
            "baseline": self.baseline,
            "columns": [list(column) for column in self.columns],
            "systems": {
                system: {
                    "label": label,
                    "metrics": {metric: self.figure(system, metric)
                                for owner, metric in self.rounds if owner == system},
                } for system, label in self.labels.items()
            },
            "neighbours": {str(number): round(share, 3)
                           for number, share in sorted(self.neighbours.items())},
            "flagged_rounds": sorted(self.flagged),
            "notes": self.notes,
        }
