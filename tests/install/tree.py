#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`meson install` into an empty directory: everything that users are promised is there, and nothing else (a
test's program, a static library); the header is found by pkg-config, and units start what was installed.

usage: tree.py BUILD-ROOT PREFIX LIBDIR SYSCONFDIR SOURCE-ROOT COMPILER...
"""
import os
import pathlib
import subprocess
import sys
import tempfile

build, prefix, libdir, sysconfdir, source, *compiler = sys.argv[1:]
HERE = pathlib.Path(source)
LIBRARY = f"{libdir}/subset/libsubset.so"

EXPECTED = {
    "bin/subset",
    "sbin/subsetd",
    LIBRARY,
    "include/subset/so_subset.h",
    f"{libdir}/pkgconfig/subset.pc",
    *(f"lib/systemd/system/{unit}" for unit in ("subsetd.service", "subsetd.socket", "subset@.service")),
    "lib/sysusers.d/subset.conf",
    "lib/tmpfiles.d/subset.conf",
    "share/bash-completion/completions/subset",
    "share/bash-completion/completions/subsetd",
    "share/zsh/site-functions/_subset",
    "share/doc/subset/subsetd.toml",
    f"{sysconfdir}/apparmor.d/abstractions/subset",
    # Whoever writes a manual page finds out here that it has to be installed too.
    *(f"share/man/man{page.suffix[1:]}/{page.name}" for page in HERE.glob("docs/*.[1-8]")),
}
PROGRAM = """
#include <subset/so_subset.h>
int main(void) { return SO_SUBSET == 0; }
"""

complaints = []


def installed_in(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


def check_files(root):
    expected = {os.path.join(prefix, path).lstrip("/") for path in EXPECTED}
    there = installed_in(root)
    complaints.extend(f"{path} is not installed" for path in sorted(expected - there))
    complaints.extend(f"{path} is installed, and nobody expects it" for path in sorted(there - expected))
    complaints.extend(f"{path} points to nothing" for path in sorted(there) if not (root / path).exists())


def pkg_config(root, *words, **environment):
    run = subprocess.run(["pkg-config", *words, "subset"], text=True, capture_output=True,
                         env={**os.environ, "PKG_CONFIG_LIBDIR": f"{root}{prefix}/{libdir}/pkgconfig", **environment})
    if run.returncode:
        complaints.append("pkg-config: " + run.stderr.strip())
    return run.stdout.strip()


def check_header(root):
    # Debian's pkg-config leaves out what the compiler searches by itself, which this directory is not.
    flags = pkg_config(root, "--cflags", PKG_CONFIG_SYSROOT_DIR=str(root), PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1").split()
    run = subprocess.run([*compiler, "-x", "c", "-", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags],
                         input=PROGRAM, text=True, capture_output=True)
    if run.returncode:
        complaints.append(f"the header does not compile with {flags}: {run.stderr}")


def check_paths(root):
    """What one installed file says of another."""
    preload = pkg_config(root, "--variable=preload")
    if preload != os.path.join(prefix, LIBRARY):
        complaints.append(f"pkg-config names the library {preload}")
    for unit, program in ("subsetd.service", "sbin/subsetd"), ("subset@.service", "bin/subset"):
        if f"ExecStart={prefix}/{program}" not in (root / prefix[1:] / "lib/systemd/system" / unit).read_text():
            complaints.append(f"{unit} does not start {prefix}/{program}")


with tempfile.TemporaryDirectory() as directory:
    # Not built again: meson test has seen to that, or was told not to.
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", directory], check=True)
    check_files(pathlib.Path(directory))
    if not complaints:
        check_header(pathlib.Path(directory))
        check_paths(pathlib.Path(directory))
print("\n".join(complaints) or f"{len(EXPECTED)} files, and they agree")
sys.exit(bool(complaints))
