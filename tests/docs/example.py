# SPDX-License-Identifier: MIT
"""The example of so_subset(3) is C that compiles without a warning.

usage: example.py MANUAL INCLUDE-DIRECTORY COMPILER...
"""
import re
import subprocess
import sys

manual, include, *compiler = sys.argv[1:]
with open(manual, encoding="utf-8") as file:
    found = re.search(r"^\.Sh EXAMPLES\n.*?^\.Bd -literal[^\n]*\n(.*?)^\.Ed", file.read(), re.M | re.S)
if not found:
    sys.exit(f"there is no example in {manual}")
program = found.group(1).replace("\\e", "\\").replace("\\&", "")
sys.exit(subprocess.run([*compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-I", include,
                         "-c", "-x", "c", "-", "-o", "/dev/null"], input=program, text=True, check=False).returncode)
