# SPDX-License-Identifier: MIT
"""From results.json to Markdown: a table for each comparison, whether the yardsticks are met, plots.

docs/BENCHMARKS.md is a text with generated blocks between `<!-- begin NAME -->` and `<!-- end -->`:
update_document() writes those anew and leaves the text alone, so that every figure comes from one
run's document.
"""
import json
import re

from . import yardsticks

BLOCK = re.compile(r"(<!-- begin (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables_of(document):
    return {table["id"]: table for scenario in document["scenarios"].values()
            for table in scenario["tables"]}


def cell(metrics, column, pattern):
    """"median (min to max)"; one value alone if all rounds agree or there was one."""
    metric, _, kind = column.partition(" ")
    figure = metrics.get(metric)
    if figure and kind == "ratio":
        figure = figure.get("ratio")
    if not figure:
        return ""
    shown = [pattern.format(figure[which]) for which in ("median", "min", "max")]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def markdown_table(table):
    columns = [column for column in table["columns"]
               if any(cell(system["metrics"], column[0], column[2]) for system in table["systems"].values())]
    lines = ["| | " + " | ".join(heading for _, heading, _ in columns) + " |",
             "|---|" + "---:|" * len(columns)]
    for name, system in table["systems"].items():
        mark = " *(baseline)*" if name == table["baseline"] else ""
        cells = [cell(system["metrics"], metric, pattern) for metric, _, pattern in columns]
        lines.append(f"| {system['label']}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def remarks(table):
    lines = list(table["notes"])
    if table["flagged_rounds"]:
        rounds = ", ".join(str(number + 1) for number in table["flagged_rounds"])
        worst = max(table["neighbours"].values())
        lines.append(f"Distrust round {rounds} of {len(table['neighbours'])}: others used up to {worst:.0%} "
                     "of the machine.")
    elif table["neighbours"]:
        lines.append(f"Others used at most {max(table['neighbours'].values()):.0%} of the machine.")
    return " ".join(lines)


def table_block(table, image=None):
    parts = [f"**{table['title']}**", markdown_table(table)]
    if remarks(table):
        parts.append(remarks(table))
    if image:
        parts.append(f"![{table['title']}]({image})")
    return "\n\n".join(parts) + "\n"


def _machine_line(machine):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (f"{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, "
            f"Linux {machine['kernel']}; {versions}.")


def machine_block(document):
    """On what, and when: scenarios may come from several runs."""
    runs = {name: scenario["run"] for name, scenario in document["scenarios"].items()}
    machines = {}
    for name, run in runs.items():
        machines.setdefault(_machine_line(run["machine"]), []).append(name)
    lines = [f"Measured on {line}" if len(machines) == 1 else f"{', '.join(names)} on {line}\n"
             for line, names in machines.items()]
    lines += ["", "| scenario | measured (UTC) | subset | rounds | seconds each |", "|---|---|---|---:|---:|"]
    for name, run in runs.items():
        options = run["options"]
        lines.append(f"| {name} | {run['machine']['started'][:16].replace('T', ' ')} | {run['machine']['subset']} "
                     f"| {options['rounds']} | {options['seconds']:g} |")
    return "\n".join(lines) + "\n"


def yardstick_block(document):
    lines = ["| yardstick | asked for | measured | |", "|---|---|---|---|"]
    for yard in yardsticks.judge(tables_of(document)):
        mark = {True: "met", False: "**missed**", None: "not measured"}[yard.met]
        lines.append(f"| {yard.what} | {yard.wanted} | {yard.measured} | {mark} |")
    return "\n".join(lines) + "\n"


def programs(document):
    """A line for each mode: how long the program is, and how long it runs."""
    for system in tables_of(document).get("selection", {"systems": {}})["systems"].values():
        size, run = (system["metrics"].get(metric) for metric in ("instructions", "ours_run_ns"))
        if size and run:
            yield f"{system['label']}: {size['median']:,.0f} instructions, {run['median']:.0f} ns a run"


def write(document, out, plots=True):
    """The whole report of a run, beside its results."""
    images = {}
    if plots:
        from . import plot  # matplotlib: only where it is used
        images = plot.draw_all(tables_of(document), out)
    parts = ["# Benchmark run", machine_block(document), yardstick_block(document)]
    for scenario in document["scenarios"].values():
        parts.append(f"## {scenario['title']}")
        parts.extend(table_block(table, images.get(table["id"])) for table in scenario["tables"])
    path = out / "report.md"
    path.write_text("\n".join(part.rstrip("\n") + "\n" for part in parts), encoding="utf-8")
    return path


def update_document(document, root):
    from . import plot
    folder = root / "docs" / "benchmarks"
    folder.mkdir(exist_ok=True)
    tables = tables_of(document)
    images = plot.draw_all(tables, folder)
    blocks = {"machine": machine_block(document), "yardsticks": yardstick_block(document)}
    for ident, table in tables.items():
        image = f"benchmarks/{images[ident]}" if ident in images else None
        blocks[ident] = table_block(table, image)
    (folder / "results.json").write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    path = root / "docs" / "BENCHMARKS.md"
    text = path.read_text(encoding="utf-8")

    def fill(block):
        made = blocks.get(block["name"])
        return block.group(0) if made is None else f"{block.group(1)}{made}{block.group(3)}"
    path.write_text(BLOCK.sub(fill, text), encoding="utf-8")
    return path
