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
# table -> (metrics, axis) over the number in the system's name
LINES = {
    "growth": (("ours_run_ns", "empty_run_ns"), "ns a run"),
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


def draw_lines(table, metrics, axis, path):
    figure, axes = plt.subplots(figsize=(7, 2.6))
    sizes = [int(name.rsplit("-", 1)[-1]) for name in table["systems"]]
    headings = {metric: heading for metric, heading, _ in table["columns"]}
    for metric, colour in zip(metrics, (OURS, OTHERS)):
        values = [system["metrics"][metric] for system in table["systems"].values()]
        axes.plot(sizes, [value["median"] for value in values], marker="o", color=colour,
                  label=headings[metric])
        axes.fill_between(sizes, [value["min"] for value in values], [value["max"] for value in values],
                          color=colour, alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("slots")
    axes.set_ylabel(axis)
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
        elif ident in LINES:
            draw_lines(table, *LINES[ident], path)
        else:
            continue
        drawn[ident] = path.name
    return drawn
