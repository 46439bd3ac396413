#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Completions know each subcommand and option that --help knows, and no other.

usage: completions.py SUBSET SUBSETD BASH-FILE ZSH-FILE
"""
import re
import shutil
import subprocess
import sys

subset, subsetd, bash_file, zsh_file = sys.argv[1:]
wrong = []


def help_of(*words):
    return subprocess.run([*words, "--help"], check=True, capture_output=True, text=True).stdout


def options_in(text):
    """The long options of lines that begin with one: "  -n,--copies N   how many"."""
    found = set()
    for names in re.findall(r"^  (-\S+)", text, re.M):
        found |= {name for name in names.split("=")[0].split(",") if name.startswith("--")}
    return found


def same(what, known, offered):
    for name in sorted(known - offered):
        wrong.append(f"{what}: {name} is not offered")
    for name in sorted(offered - known):
        wrong.append(f"{what}: {name} is offered, and not known to --help")


def offered_by_bash(function, *words):
    """What bash offers behind these words, the last of which is being typed."""
    script = f"""
      _init_completion() {{ cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
        words=("${{COMP_WORDS[@]}}") cword=$COMP_CWORD; }}
      . "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); {function}; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    run = subprocess.run(["bash", "-c", script, bash_file, *words], check=True, capture_output=True, text=True)
    if run.stderr:
        wrong.append(f"bash, {' '.join(words)}: {run.stderr}")
    return set(run.stdout.split())


zsh = open(zsh_file, encoding="utf-8").read()

def section_of_zsh(command):
    return next((text for names, text in re.findall(r"^    ([a-z |]+)\)(.*?);;$", zsh, re.M | re.S)
                 if command in names.split(" | ")), "")


def offered_by_zsh(text):
    names = set(re.findall(r"(?<![\w$-])(--[a-z-]+)(?=['\[}])", text))
    if "$steering" in text:
        steering = re.search(r"steering=\(.*?\)\n\n", zsh, re.S).group()
        names |= set(re.findall(r"--[a-z-]+(?=\[)", steering)) | {"--socket"}
    return names | ({"--socket"} if "$socket" in text else set())


if shutil.which("zsh") and subprocess.run(["zsh", "-f", "-n", zsh_file]).returncode:
    wrong.append("zsh cannot read its file")

top = help_of(subset)
commands = set(re.findall(r"^  ([a-z]+) ", top.split("Subcommands:")[1], re.M))
dashes = {"--help"}
same("bash, subset", commands | options_in(top), offered_by_bash("_subset", "subset", ""))
same("zsh, subset", commands, set(re.findall(r"^(?:commands=\(|  )'([a-z]+):", zsh, re.M)))
for command in sorted(commands):
    known = options_in(help_of(subset, command))
    same(f"bash, subset {command}", known, offered_by_bash("_subset", "subset", command, "--"))
    same(f"zsh, subset {command}", known, offered_by_zsh(section_of_zsh(command)) | dashes)
known = options_in(help_of(subsetd))
same("bash, subsetd", known, offered_by_bash("_subsetd", "subsetd", "--"))
same("zsh, subsetd", known, offered_by_zsh(zsh[zsh.index("$service == subsetd"):zsh.index("local -a commands")]))

print("\n".join(wrong) or f"{len(commands)} subcommands, their options and those of subsetd")
sys.exit(bool(wrong))
