# SPDX-License-Identifier: MIT
"""Every metric that an alert rule or a dashboard asks for is one that the daemon has: a name that
nobody exports is an alert that never fires.

usage: names.py PROMETHEUS-CPP RULES GRAFANA-JSON
"""
import json
import pathlib
import re
import sys

NAME = re.compile(r"\bsubset_[a-z_]+")


def expressions(panels):
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))


def main():
    source, rules, grafana = map(pathlib.Path, sys.argv[1:])
    exported = set(re.findall(r'"(subset_[a-z_]+)"', source.read_text()))
    histograms = {name + part for name in exported for part in ("_bucket", "_sum", "_count")}
    asked = {rules.name: set(NAME.findall(rules.read_text()))}
    dashboard = json.loads(grafana.read_text())
    texts = [*expressions(dashboard["panels"]),
             *(each["query"]["query"] for each in dashboard["templating"]["list"]
               if each["type"] == "query")]
    asked[grafana.name] = set(NAME.findall("\n".join(texts)))
    unknown = {f"{file}: {name}" for file, names in asked.items()
               for name in names - exported - histograms}
    if len(exported) < 10 or not all(asked.values()):
        sys.exit("no metrics found: has prometheus.cpp moved?")
    if unknown:
        sys.exit("the daemon does not export\n" + "\n".join(sorted(unknown)))


main()
