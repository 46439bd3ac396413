# SPDX-License-Identifier: MIT
"""Plots of some tables, as SVG: bars with minimum and maximum, and lines where something grows."""
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "subset", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False, "svg.fonttype": "none"})
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first)

# table -> (metric, axis) of its bars
BARS = {
    "udp": ("total_us", "CPU µs for a request, servers and clients"),
    "tls": ("server_us", "server CPU µs for a connection"),
    "http": ("server_us", "server CPU µs for a connection"),
    "http-local": ("total_us", "CPU µs for a connection, servers and clients"),
    "memcached-2": ("per_cpu_second", "requests for a second of the server's CPU"),
    "memcached-4": ("per_cpu_second", "requests for a second of the server's CPU"),
    "stalled": ("answered", "share of questions answered"),
    "selection": ("over_empty_ns", "ns over an empty program"),
    "loss-tcp": ("lost_each", "connections lost for a restart"),
    "loss-udp": ("lost_each", "datagrams lost for a restart"),
}
# table -> ((system, heading), ...), metric, axes, and whether the lower one doubles: a line for each system,
# over the number in its rows' names
CURVES = {
    "growth": ((("64", "ours, 64 flows"), ("1", "1 flow")), "over_empty_ns", "slots", "ns over an empty program",
               True),
    "memcached-4-load": ((("unsteered", "one socket for all threads"), ("dup", "ours, SUBSET_SPREAD=dup")),
                         "server_us", "load, percent of capacity", "server CPU µs for a request", False),
}
OURS, OTHERS = "#1f6f8b", "#b8b8b8"


def is_ours(label):
    return "ours" in label


def draw_bars(table, metric, axis, path):
    systems = [(system["label"], system["metrics"][metric]) for system in table["systems"].values()
               if metric in system["metrics"]]
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.34 * len(systems)))
    medians = [value["median"] for _, value in systems]
    errors = [[value["median"] - value["min"] for _, value in systems],
              [value["max"] - value["median"] for _, value in systems]]
    axes.barh(range(len(systems)), medians, xerr=errors, height=0.65,
              color=[OURS if is_ours(label) else OTHERS for label, _ in systems],
              error_kw={"linewidth": 1, "capsize": 2, "ecolor": "#444444"})
    axes.set_yticks(range(len(systems)), [label for label, _ in systems])
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    save(figure, path)


def draw_curves(table, systems, metric, below, beside, doubles, path):
    figure, axes = plt.subplots(figsize=(7, 2.6))
    for system, heading in systems:
        rows = {int(name.rsplit("-", 1)[1]): row["metrics"][metric]
                for name, row in table["systems"].items() if name.startswith(f"{system}-")}
        colour = OURS if is_ours(heading) else OTHERS
        axes.plot(list(rows), [row["median"] for row in rows.values()], marker="o", color=colour, label=heading)
        axes.fill_between(list(rows), [row["min"] for row in rows.values()],
                          [row["max"] for row in rows.values()], color=colour, alpha=0.2)
    if doubles:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(rows), [f"{number:,}" for number in rows])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    axes.legend(frameon=False)
    save(figure, path)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # Each file says its licence, those that are drawn too.
    declaration, rest = path.read_text().split("\n", 1)
    path.write_text(f"{declaration}\n<!-- SPDX-License-Identifier: MIT -->\n{rest}")


def draw_all(tables, folder):
    """SVG files into the folder; table -> file name."""
    drawn = {}
    for ident, table in tables.items():
        path = folder / f"{ident}.svg"
        if ident in BARS:
            draw_bars(table, *BARS[ident], path)
        elif ident in CURVES:
            draw_curves(table, *CURVES[ident], path)
        else:
            continue
        drawn[ident] = path.name
    return drawn
