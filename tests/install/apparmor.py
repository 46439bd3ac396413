#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The piece of AppArmor profile for confined servers: it compiles, alone and in the profiles that Debian's servers
bring, put there as the manual says; it names the library where it is installed; and it grants what it is for.
Nothing is loaded into a kernel.

usage: apparmor.py PIECE LIBRARY SERVER-PROFILE...
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
SYSTEM = pathlib.Path("/etc/apparmor.d")
PARSER = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")
# Without abstractions/base, which grants some of it too: to a server that includes that.
PROFILE = """
abi <abi/3.0>,
include <tunables/global>
profile server /usr/sbin/server {{
  {piece}
}}
"""

piece, library, *servers = sys.argv[1:]
complaints = []


def compile_profile(base, profile, *options):
    """The compiled profile, or nothing, and what the parser said. For a kernel that knows all kinds of rules: where
    none is asked, the parser leaves out those for sockets and signals."""
    run = subprocess.run([PARSER, "--skip-kernel-load", "--skip-cache", "--stdout", "--base", str(base),
                          "--kernel-features", str(base / "abi/3.0"), *options,
                          str(profile)], capture_output=True)
    said = [line for line in run.stderr.decode().splitlines() if not line.startswith("Cache read/write disabled")]
    return (run.stdout if run.returncode == 0 else b""), "\n".join(said)


def check_compiles(base, profile, *options):
    compiled, said = compile_profile(base, profile, *options)
    if not compiled or said:
        complaints.append(f"{profile.name} {' '.join(options)}: {said or 'compiles to nothing'}")
    return compiled


def check_grants(base):
    """Each rule makes another profile of it; one that is ignored would not."""
    profile = base / "server"
    profile.write_text(PROFILE.format(piece=""))
    alone = check_compiles(base, profile)
    for rule in re.findall(r"^ +([^#\n]+,)$", pathlib.Path(piece).read_text(), re.M):
        profile.write_text(PROFILE.format(piece=rule))
        if check_compiles(base, profile) == alone:
            complaints.append(f"grants nothing: {rule}")


def check_library(base):
    """As the parser expands it: a rule for this very path adds nothing to the piece. Other prefixes are their
    owners' to allow."""
    if not library.startswith("/usr/"):
        return
    profile = base / "server"
    profile.write_text(PROFILE.format(piece="include <abstractions/subset>"))
    with_piece = check_compiles(base, profile)
    profile.write_text(PROFILE.format(piece=f"include <abstractions/subset>\n  {library} mr,"))
    if check_compiles(base, profile) != with_piece:
        complaints.append(f"{library} is not covered")


def check_servers(base):
    for name in servers:
        profile = base / name
        if not profile.exists():
            print(f"not installed: {name}")
            continue
        before = check_compiles(base, profile)
        (base / "local" / name).write_text("#include <abstractions/subset>\n")
        if check_compiles(base, profile) == before:
            complaints.append(f"{name} does not take the piece from local/{name}")


def main():
    if PARSER is None or not (SYSTEM / "abstractions/base").exists():
        print("there is no apparmor_parser: sudo ./scripts/install-deps test")
        return SKIPPED
    with tempfile.TemporaryDirectory() as scratch:
        base = pathlib.Path(scratch, "apparmor.d")
        shutil.copytree(SYSTEM, base)
        shutil.copy(piece, base / "abstractions/subset")
        check_grants(base)
        check_library(base)
        check_servers(base)
        for features in sorted((base / "abi").iterdir()):
            check_compiles(base, base / "server", "--policy-features", str(features))
    print("\n".join(complaints))
    return 1 if complaints else 0


sys.exit(main())
