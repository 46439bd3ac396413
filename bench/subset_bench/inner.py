# SPDX-License-Identifier: MIT
"""The first process inside the sandbox: runs the scenarios and writes the document."""
import argparse
import json
import os
import signal
import sys
import time
import traceback

from . import cgroups, machine, sandbox
from .lab import Failed, Lab
from .scenarios import ALL


def run_scenario(lab, name, options):
    scenario = ALL[name]
    run = {"machine": machine.describe(options.root),
           "options": {"rounds": options.rounds, "seconds": options.seconds,
                       "restarts": options.restarts, "kind": options.kind}}
    start = time.monotonic()
    try:
        tables = scenario.run(lab)
    finally:
        lab.clear()
        lab.stop_all()
    return {"title": scenario.TITLE, "run": run, "seconds": round(time.monotonic() - start, 1),
            "tables": [table.document() for table in tables]}


def run_all(lab, options):
    document = {"scenarios": {}}
    failures = []
    for name in options.scenarios:
        print(f"   {name}: {ALL[name].TITLE}", file=sys.stderr, flush=True)
        try:
            document["scenarios"][name] = run_scenario(lab, name, options)
        except Failed as error:
            failures.append(name)
            print(f"   {name} failed: {error}", file=sys.stderr)
        except Exception:  # a defect of a scenario costs that scenario alone
            failures.append(name)
            traceback.print_exc()
    return document, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cgroup")
    parser.add_argument("--root")
    parser.add_argument("--build")
    parser.add_argument("--out")
    parser.add_argument("--kind")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--restarts", type=int)
    parser.add_argument("scenarios", nargs="+")
    options = parser.parse_args()
    options.smoke = options.kind == "smoke"
    out = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    proc = sandbox.set_up()
    tree = cgroups.Tree(options.cgroup)
    tree.join("bench")
    document, failures = run_all(Lab(tree, proc, options.build, options), options)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
