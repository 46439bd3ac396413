#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `meson test` knows about tests, for the shell.

  suites.py targets BUILD-DIR SUITE   what a suite runs, as ninja names it: tests, and what they depend on
  suites.py commands BUILD-DIR TEST... what each runs, a line each: its name and words without blanks
  suites.py tally LOG.json            "PASSED FAILED SKIPPED" in test cases; failures on standard error

A doctest program is as many cases as its own summary says, any other test is one. A program that
ended badly with no failed case (a crash, a sanitizer's report, a timeout) is one failed case more.
"""
import json
import os
import re
import subprocess
import sys

DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")
SHOWN_LINES = 60


def introspect(build_dir, what):
    return json.loads(subprocess.check_output(["meson", "introspect", "--" + what, build_dir]))


def targets(build_dir, suite):
    built = {target["id"]: target["filename"] for target in introspect(build_dir, "targets")}
    for test in introspect(build_dir, "tests"):
        if all(name.split(":")[-1] != suite for name in test["suite"]):
            continue
        for file in [test["cmd"][0], *(file for each in test["depends"] for file in built[each])]:
            file = os.path.relpath(file, os.path.realpath(build_dir))
            # A tool of the machine that tests a file is not built.
            if file[:2] != "..":
                yield file


def commands(build_dir, names):
    known = {test["name"]: test["cmd"] for test in introspect(build_dir, "tests")}
    for name in names:
        if name not in known:
            sys.exit(f"there is no test {name} in {build_dir}")
        yield " ".join([name, *known[name]])


def cases_of(test):
    found = DOCTEST.findall(test.get("stdout") or "")
    passed, failed, skipped = (sum(int(case[i]) for case in found) for i in range(3))
    if any(word.startswith("--source-file=") for word in test["command"]):
        skipped = 0  # cases of other files, which are tests of their own
    if test["result"] == "SKIP":
        return passed, failed, skipped + 1
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        return (passed, failed, skipped) if found else (1, 0, 0)
    return passed, max(failed, 1), skipped


def show_failure(test):
    output = ((test.get("stdout") or "") + (test.get("stderr") or "")).splitlines()
    seconds = test.get("duration", 0)
    print(f"--- {test['name']}: {test['result']}, status {test.get('returncode')}, {seconds:.0f} s",
          file=sys.stderr)
    if len(output) > SHOWN_LINES:
        print(f"    ({len(output) - SHOWN_LINES} lines before these)", file=sys.stderr)
    for line in output[-SHOWN_LINES:]:
        print("    " + line, file=sys.stderr)


def tally(log):
    sums = [0, 0, 0]
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            test = json.loads(line)
            cases = cases_of(test)
            sums = [a + b for a, b in zip(sums, cases)]
            if cases[1]:
                show_failure(test)
    print(*sums)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["targets", build_dir, suite]:
            print(*dict.fromkeys(targets(build_dir, suite)))
        case ["commands", build_dir, *names]:
            print(*commands(build_dir, names), sep="\n")
        case ["tally", log]:
            tally(log)
        case _:
            sys.exit(__doc__)
