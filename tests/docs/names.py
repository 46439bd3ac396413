# SPDX-License-Identifier: MIT
"""One name for one thing: what manuals, README, docs/*.md, units, examples, alert rules and --help name is
there, and what is there is in its manual. Each check compares two sets, both ways where the document is the
one that has to be complete; what the programs can be asked (--help, the configuration's own complaints) is
asked of them, the rest is read from the table in the source that holds it.

usage: names.py SOURCE-ROOT BUILD-ROOT
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

ROOT, BUILD = map(pathlib.Path, sys.argv[1:])
SUBSET, SUBSETD = BUILD / "ctl/subset", BUILD / "daemon/subsetd"
MANUALS = {path.stem: path for path in sorted(ROOT.glob("docs/*.[1-8]"))}
TEXTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]
SCRIPTS = [path for folder in ("examples", "systemd", "contrib") for path in sorted(ROOT.glob(f"{folder}/**/*"))
           if path.is_file() and path.suffix != ".c"]
DOCUMENTS = [*MANUALS.values(), *TEXTS, *SCRIPTS]

complaints = []


def source(name):
    return (ROOT / name).read_text()


def show(path):
    return str(path.relative_to(ROOT))


def same(here, there, one, other):
    """Two sets of names that have to be one."""
    if not one or not other:
        complaints.append(f"no names found in {here if not one else there}: what is looked for has moved")
    complaints.extend(f"{here} has {name}, {there} has not" for name in sorted(one - other))
    complaints.extend(f"{there} has {name}, {here} has not" for name in sorted(other - one))


def known(where, names, existing):
    complaints.extend(f"{where} speaks of {name}, which does not exist" for name in sorted(set(names) - existing))


# --- the command lines --------------------------------------------------------------------------------------


def help_of(*words):
    return subprocess.run([*words, "--help"], capture_output=True, text=True, check=True).stdout


def options_in(text):
    return set(re.findall(r"^ +(?:-\w,)?--([a-z-]+)", text, re.M)) - {"help", "version"}


def commands():
    listed = help_of(SUBSET).split("Subcommands:")[1].split("\n\n")[0]
    return {name: options_in(help_of(SUBSET, name)) for name in re.findall(r"^  ([a-z]+) ", listed, re.M)}


COMMANDS = commands()
DAEMON = options_in(help_of(SUBSETD))


def section(text, title):
    found = re.search(rf'^\.S[hs] "?{re.escape(title)}"?\n(.*?)(?=^\.Sh |\Z)', text, re.M | re.S)
    return found.group(1) if found else ""


def flags_in(text):
    """Long options in mdoc: each word with a dash behind Fl."""
    flags = set()
    for line in re.findall(r"^\.(.*)$", text, re.M):
        for words in re.findall(r"\bFl((?: (?:-?[a-z-]+|[,|]))+)", line):
            flags |= {word[1:] for word in words.split() if word.startswith("-")}
    return flags - {"help", "version", ""}


def steering_options():
    """Option and variable, from the table that the command makes its options of."""
    table = source("ctl/run_plan.h")
    return dict(re.findall(r'"--([a-z]+)",\s*"(SUBSET_[A-Z]+)"', table))


def check_options():
    manual = MANUALS["subset"].read_text()
    steering = steering_options()
    same("subset --help", "subset(1)", set().union(*COMMANDS.values()), flags_in(manual))
    described = dict(re.findall(r"^\.It Fl -([a-z]+).*\n\.Pq Ev (SUBSET_[A-Z]+)", manual, re.M))
    same("ctl/", "Steering options of subset(1)", set(steering.items()), set(described.items()))
    synopsis = {}
    for form in section(manual, "SYNOPSIS").split(".Nm\n"):
        names = re.match(r"\.Cm ([a-z |]+)\n", form)
        flags = flags_in(form) | (set(steering) if "steering-options" in form else set())
        flags |= {"copies"} if ".Fl n Ar N" in form else set()  # the short one is what people type
        synopsis.update({name: flags for name in names.group(1).split(" | ")} if names else {})
    same("subset --help", "the synopsis of subset(1)", set(COMMANDS), set(synopsis))
    for name in COMMANDS.keys() & synopsis.keys():
        if COMMANDS[name] | synopsis[name]:
            same(f"subset {name} --help", "the synopsis of subset(1)",
                 {f"{name} --{each}" for each in COMMANDS[name]}, {f"{name} --{each}" for each in synopsis[name]})
    same("subsetd --help", "subsetd(8)", DAEMON, flags_in(MANUALS["subsetd"].read_text()))
    for page in ("so_subset", "libsubset", "subsetd.toml"):
        known(show(MANUALS[page]), flags_in(MANUALS[page].read_text()),
              DAEMON | set().union(*COMMANDS.values()))


def code_in(path):
    """What a reader may type: in Markdown, what is indented, fenced or quoted; in others, all of it."""
    text = path.read_text()
    if path.suffix != ".md":
        return text.replace("\\\n", " ").splitlines()
    fenced = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.M | re.S)
    indented = re.findall(r"^    (.*)$", text, re.M)
    quoted = re.findall(r"`([^`\n]+)`", text)
    return "\n".join([*fenced, *indented, *quoted]).replace("\\\n", " ").splitlines()


def check_quoted_options():
    """An option that a text speaks of by itself: `--until-replaced`."""
    exist = DAEMON | set().union(*COMMANDS.values())
    of_others = {"network", "thunder-lock"}  # docker's, uwsgi's
    for path in (ROOT / "README.md", ROOT / "docs/OPERATIONS.md", ROOT / "examples/README.md"):
        known(show(path), re.findall(r"`--([a-z-]+)[^`]*`", path.read_text()), exist | of_others)


def check_command_lines():
    for path in (*TEXTS, *SCRIPTS, *MANUALS.values()):
        for line in code_in(path):
            if path.suffix in (".json", ".png") or line.startswith("#"):
                continue
            for name, rest in re.findall(r"(?:^|[/ (=$`])subset ([a-z]+)((?: [^ `]+)*)", line):
                typed = "--" in rest or path.suffix == ".md"
                if name not in COMMANDS:
                    if typed and "--" in rest:
                        complaints.append(f"{show(path)}: there is no subset {name}")
                    continue
                ours = rest.split(" -- ")[0]
                known(show(path), [f"subset {name} --{each}" for each in re.findall(r" --([a-z-]+)", ours)],
                      {f"subset {name} --{each}" for each in COMMANDS[name] | {"help"}})
            for rest in re.findall(r"(?:^|[/ (=$`])subsetd((?: [^ `;&|]+)*)", line):
                known(show(path), [f"subsetd --{each}" for each in re.findall(r" --([a-z-]+)", rest)],
                      {f"subsetd --{each}" for each in DAEMON | {"help", "version"}})


# --- variables, and the words that they take ----------------------------------------------------------------

VARIABLE = re.compile(r"(?<![A-Z_])SUBSET(?:_[A-Z]+)*\b(?!_)")


def check_variables():
    exist = set(re.findall(r'\{"(SUBSET[A-Z_]*)", parse_', source("shim/settings.cpp")))
    manual = section(MANUALS["libsubset"].read_text(), "ENVIRONMENT")
    same("shim/settings.cpp", "ENVIRONMENT of libsubset(7)", exist,
         set(re.findall(r"^\.It Ev (SUBSET[A-Z_]*)", manual, re.M)))
    same("shim/settings.cpp", "the table of the README", exist - {"SUBSET_LINEAGE"},
         set(re.findall(r"^\| `(SUBSET[A-Z_]*)` \|", source("README.md"), re.M)))
    of_the_build = {"SUBSET_TEST_LONG"}
    for path in DOCUMENTS:
        if path.suffix != ".png":
            known(show(path), VARIABLE.findall(path.read_text()), exist | of_the_build)


def check_words():
    policy = source("protocol/policy.h")
    for table in ("kModeNames", "kVacancyNames", "kConflictNames"):
        words = set(re.findall(r'"([a-z]+)"', re.search(rf"{table}\[\] = \{{(.*?)\}}", policy, re.S).group(1)))
        for page in ("libsubset", "subset"):
            said = set(re.findall(r"\b([a-z]+)\b", "\n".join(
                re.findall(r"^\.(?:It )?Cm (.*)$", MANUALS[page].read_text(), re.M))))
            complaints.extend(f"{page}'s manual lacks {word} ({table})" for word in sorted(words - said))


# --- what is shown ------------------------------------------------------------------------------------------


def check_metrics():
    exported = set(re.findall(r'"(subset_[a-z_]+)"', source("daemon/observe/prometheus.cpp")))
    histograms = {name + part for name in exported for part in ("_bucket", "_sum", "_count")}
    same("daemon/observe/prometheus.cpp", "subsetd(8)", exported,
         set(re.findall(r"\bsubset_[a-z_]+", MANUALS["subsetd"].read_text())))
    of_others = {"subset_bench"}  # a folder
    for path in DOCUMENTS:
        if path.suffix != ".png":
            known(show(path), re.findall(r"\bsubset_[a-z_]*[a-z]\b(?![/.])", path.read_text()),
                  exported | histograms | of_others)


def fields_of(schema):
    names = set(schema.get("properties", {}))
    parts = [*schema.get("properties", {}).values(), *schema.get("definitions", {}).values(), schema.get("items")]
    for part in filter(None, parts):
        names |= fields_of(part)
    return names


def check_fields():
    """Of the status document, the events, and the findings."""
    written = source("daemon/observe/snapshot.cpp")
    code = set(re.findall(r'(?:json\[|\{)"([a-z_]+)"', written))
    schema = fields_of(json.loads(source("tests/system/status.schema.json")))
    complaints.extend(f"the schema has {name}, snapshot.cpp has not" for name in sorted(schema - code))
    manual = MANUALS["subset"].read_text()
    same("daemon/observe/snapshot.cpp", "THE STATUS DOCUMENT of subset(1)", code,
         set(re.findall(r"\b([a-z_]+)\b", " ".join(
             re.findall(r"^\.It Va (.*)$", section(manual, "THE STATUS DOCUMENT"), re.M)))))
    quoted = set(re.findall(r"^\.Ql ([a-z_]+)", manual, re.M))
    for file in ("daemon/observe/happening.cpp", "ctl/check.cpp"):
        names = set(re.findall(r'(?:json\[|\{)"([a-z_]+)"[\],]', source(file)))
        complaints.extend(f"subset(1) lacks the field {name} of {file}" for name in sorted(names - quoted))
    events = set()
    for file in (ROOT / "daemon/groups").glob("*.cpp"):
        for expression in re.findall(r"\bwhat = ([^;,]*)[;,]", file.read_text()):
            events |= set(re.findall(r'"([a-z ]+)"', expression))
    same("daemon/groups", "subset events in subset(1)", events,
         {name for names in re.findall(r"^\.It Cm (.*)$", section(manual, "subset events"), re.M)
          for name in names.split(" , ")})


def check_alerts():
    rules = set(re.findall(r"- alert: (\w+)", source("contrib/prometheus/subset.rules.yml")))
    same("contrib/prometheus/subset.rules.yml", "docs/OPERATIONS.md", rules,
         set(re.findall(r"^### (Subset\w+)$", source("docs/OPERATIONS.md"), re.M)))


# --- the configuration --------------------------------------------------------------------------------------


def listed_for(configuration):
    """The daemon lists what there is when something is not."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(configuration)
        file.flush()
        said = subprocess.run([SUBSETD, "--check-config", "--config", file.name], capture_output=True,
                              text=True, check=False).stderr
    return set(re.search(r"(?:there are|its keys are) (.*)", said).group(1).split(", "))


def check_configuration():
    exist = {f"{name}.{key}" for name in listed_for("[qqqqqqqqqqqq]\n")
             for key in listed_for(f"[{name}]\nqqqqqqqqqqqq = 1\n")}
    defaults = {f"{name}.{key}": value for name, keys in tomllib.loads(source("docs/subsetd.toml")).items()
                for key, value in keys.items()}
    same("subsetd", "docs/subsetd.toml", exist, set(defaults))
    described = {}
    for name, text in re.findall(r"^\.Ss \[(\w+)\]\n(.*?)(?=^\.S[hs] )", MANUALS["subsetd.toml"].read_text(),
                                 re.M | re.S):
        for key, value in re.findall(r"^\.It Cm (\w+) No = (.*)$", text, re.M):
            described[f"{name}.{key}"] = value.replace("Qq", "").replace("Pa", "").strip()
    same("subsetd", "subsetd.toml(5)", exist, set(described))
    complaints.extend(f"subsetd.toml(5) says {described[key]} for {key}, docs/subsetd.toml {value}"
                      for key, value in defaults.items() if described.get(key) != str(value))
    sections = "|".join({key.split(".")[0] for key in exist})
    for path in (*TEXTS, *MANUALS.values()):
        named = re.findall(rf"(?<![\w./-])((?:{sections})\.[a-z_]+)\b(?![/(])", path.read_text())
        known(show(path), [name for name in named if not name.endswith((".cpp", ".h", ".c", ".sh"))], exist)
        current = None
        for line in code_in(path):
            if header := re.match(r"\s*\[(\w+)\]", line):
                current = header.group(1) if re.fullmatch(sections, header.group(1)) else None
            elif current and (key := re.match(r"\s*(\w+) = ", line)):
                known(show(path), [f"{current}.{key.group(1)}"], exist)


# --- what they point at -------------------------------------------------------------------------------------


def check_references():
    ours = {name: path.suffix[1:] for name, path in MANUALS.items()}
    installed = re.search(r"install_man\((.*?)\)", source("meson.build"), re.S).group(1)
    same("docs/", "install_man", {path.name for path in MANUALS.values()},
         set(re.findall(r"docs/([\w.]+)'", installed)))
    for path in DOCUMENTS:
        if path.suffix == ".png":
            continue
        text = path.read_text()
        pages = re.findall(r"\.Xr ([\w.]+) (\d)", text) + re.findall(r"man:([\w.]+)\((\d)\)", text)
        pages += re.findall(r"\b(subset|subsetd|libsubset|so_subset|subsetd\.toml)\((\d)\)", text)
        complaints.extend(f"{show(path)}: {name} is in section {ours[name]}" for name, number in pages
                          if name in ours and ours[name] != number)
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (path.parent / target).exists():
                complaints.append(f"{show(path)}: {target} is not there")
        for name in re.findall(r"`((?:bench|bpf|ctl|daemon|docs|examples|scripts|systemd|tests|contrib)/[\w./@-]+)`",
                               text):
            if not (ROOT / name).exists() and not (ROOT / f"{name}.in").exists():
                complaints.append(f"{show(path)}: {name} is not there")


def check_tests():
    """Those that documents call a test of something: a test of meson's, or a file of test cases."""
    exist = {test["name"] for test in json.loads((BUILD / "meson-info/intro-tests.json").read_text())}
    for path in ROOT.glob("docs/*.md"):
        for name in re.findall(r"`((?:unit|shim|system)/[\w/]+)`", path.read_text()):
            if not (ROOT / f"tests/{name}_test.cpp").exists() and not (ROOT / f"tests/{name}").is_dir():
                known(show(path), [name], exist)


for check in (check_options, check_quoted_options, check_command_lines, check_variables, check_words,
              check_metrics, check_fields, check_alerts, check_configuration, check_references, check_tests):
    check()
sys.exit("\n".join(dict.fromkeys(complaints)) or None)
