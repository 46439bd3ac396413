# SPDX-License-Identifier: MIT
"""Whether a document is whole: what a smoke run is looked at for, since its figures mean nothing."""
import math


def problems(document, scenarios):
    for name in scenarios:
        scenario = document["scenarios"].get(name)
        if scenario is None:
            yield f"{name} is missing"
            continue
        for table in scenario["tables"]:
            yield from _of_table(f"{name}, {table['id']}", table)


def _of_table(where, table):
    if not table["systems"]:
        yield f"{where}: no systems"
    if table["baseline"] and table["baseline"] not in table["systems"]:
        yield f"{where}: no baseline {table['baseline']}"
    for system, found in table["systems"].items():
        if not found["metrics"]:
            yield f"{where}, {system}: no metrics"
        for metric, figure in found["metrics"].items():
            if not _is_sane(figure):
                yield f"{where}, {system}: {metric} is {figure}"
            elif metric == "answers" and figure["median"] == 0:
                yield f"{where}, {system}: no answers"
            elif metric == "wrong" and figure["max"] > 0:
                yield f"{where}, {system}: wrong answers"


def _is_sane(figure):
    values = [figure["min"], figure["median"], figure["max"]]
    return all(math.isfinite(value) for value in values) and values == sorted(values)
