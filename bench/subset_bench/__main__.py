# SPDX-License-Identifier: MIT
"""The command line of scripts/bench."""
import argparse
import json
import os
import pathlib
import sys
import tempfile

from . import merge, report, sandbox, sanity

# rounds, seconds a measurement, restarts, seconds for the whole at most
KINDS = {
    "full": (9, 2.0, 20, 3600),
    "quick": (5, 0.5, 6, 1200),
    "smoke": (1, 0.1, 1, 300),
}
SCENARIOS = ("udp", "tcp", "paper", "wakeups", "selection", "balance", "loss", "control", "sampling")


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="bench", description="Compares subset with what a user would pick instead: builds a release, "
        "measures in namespaces of its own, and writes results.json and report.md with plots.",
        epilog="scenarios: " + ", ".join(SCENARIOS) + "; all of them if none is named")
    parser.add_argument("scenario", nargs="*", help="what to measure")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", dest="kind", action="store_const", const="quick", default="full",
                      help="fewer and shorter rounds: some minutes instead of most of an hour")
    kind.add_argument("--smoke", dest="kind", action="store_const", const="smoke",
                      help="only whether everything runs: the figures mean nothing")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (9; quick: 5)")
    parser.add_argument("--seconds", type=float, help="of each measurement (2; quick: 0.5)")
    parser.add_argument("--restarts", type=int, help="in the scenario loss (20; quick: 6)")
    parser.add_argument("--out", default="bench-results", metavar="DIR",
                        help="where results.json, report.md and plots go (bench-results); what other "
                        "scenarios have measured there is kept")
    parser.add_argument("--report", metavar="RESULTS.json",
                        help="measure nothing: write docs/BENCHMARKS.md and its plots anew from this")
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    parser.add_argument("--build-dir", help="measure what is built there, and build nothing")
    parser.add_argument("--root", default=os.getcwd(), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in options.scenario:
        if name not in SCENARIOS:
            parser.error(f"{name} is no scenario: {', '.join(SCENARIOS)}")
    rounds, seconds, restarts, options.timeout = KINDS[options.kind]
    options.rounds = options.rounds or rounds
    options.seconds = options.seconds or seconds
    options.restarts = options.restarts or restarts
    if min(options.rounds, options.seconds, options.restarts) <= 0:
        parser.error("rounds, seconds and restarts are more than 0")
    options.scenarios = options.scenario or list(SCENARIOS)
    return options


def run(options, results):
    """Measures in the sandbox; its exit status."""
    return sandbox.run_inside("subset_bench.inner", [
        "--root", options.root, "--build", str(pathlib.Path(options.build_dir).resolve()),
        "--out", str(results), "--kind", options.kind, "--rounds", str(options.rounds),
        "--seconds", str(options.seconds), "--restarts", str(options.restarts), *options.scenarios,
    ], options.timeout)


def measure(options):
    if os.geteuid() != 0:
        sys.exit("bench: needs root: sudo scripts/bench")
    if not options.build_dir:
        sys.exit("bench: run scripts/bench, which builds first, or name a --build-dir")
    out = pathlib.Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out, prefix="run-", suffix=".json") as came:
        status = run(options, came.name)
        text = came.read()
    if not text:
        return status or 1
    document = json.loads(text)
    for problem in sanity.problems(document, options.scenarios):
        print(f"bench: {problem}", file=sys.stderr)
        status = status or 1
    results = out / "results.json"
    for line in report.programs(document):
        print(f"   {line}")
    document = merge.into(results, document)
    written = report.write(document, out, plots=options.kind != "smoke")
    print(f"   {results}\n   {written}")
    return status


def main():
    options = parse(sys.argv[1:])
    if options.list:
        print("\n".join(SCENARIOS))
        return 0
    if options.report:
        document = json.loads(pathlib.Path(options.report).read_text(encoding="utf-8"))
        print(f"   {report.update_document(document, pathlib.Path(options.root))}")
        return 0
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
