// SPDX-License-Identifier: MIT
// Rate and queue of a group's members over the last ten minutes, drawn by Chart.js. Few members
// are a line each, in their colours; many would be a thicket, so they are the largest, the mean and
// the smallest.
/* global Chart */
import { themeColour } from "./colours.js";
import { byId, setText } from "./dom.js";
import { bytesStep, HISTORY_SECONDS, memberKey, memberName, queueText, rateText } from "./model.js";
import { memberColour } from "./members.js";

const LINES = 10;

// From the samples of all members at one moment to three numbers.
function summarise(series) {
  const moments = new Map();
  for (const { points } of series)
    for (const { x, y } of points) {
      if (y === null) continue;
      if (!moments.has(x)) moments.set(x, []);
      moments.get(x).push(y);
    }
  const times = [...moments.keys()].sort((a, b) => a - b);
  const line = (pick) => times.map((x) => ({ x, y: pick(moments.get(x)) }));
  return {
    largest: line((values) => Math.max(...values)),
    mean: line((values) => values.reduce((a, b) => a + b, 0) / values.length),
    smallest: line((values) => Math.min(...values)),
  };
}

function lineOf(label, colour, points, width = 1.6) {
  return {
    label,
    data: points,
    borderColor: colour,
    backgroundColor: colour,
    borderWidth: width,
    pointRadius: 0,
    pointHitRadius: 6,
    tension: 0,
    spanGaps: false,
  };
}

const lastOf = (points) => points.at(-1)?.y ?? null;

class History {
  // `what`: "rate" or "queue"; `format(group, number)`.
  // `least(group)`: the axis goes up to this at least, lest noise around nothing looks like much.
  // `step(group, most)`: between two of its lines; undefined: as Chart.js will have it.
  constructor(what, format, words, least, step = () => undefined) {
    this.what = what;
    this.least = least;
    this.step = step;
    this.format = format;
    this.words = words;
    this.group = null;
    this.chart = new Chart(byId(`${what}-chart`), {
      type: "line",
      data: { datasets: [] },
      options: this.options(),
    });
  }

  options() {
    const ticks = (callback) => ({ color: "", maxTicksLimit: 6, callback, font: { size: 11 } });
    const minutes = (x) => (x === 0 ? "now" : `${(x / 60).toFixed(0).replace("-", "−")} min`);
    return {
      animation: false,
      parsing: false,
      normalized: true,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      plugins: {
        legend: { display: false, position: "bottom", labels: { boxWidth: 10, boxHeight: 2 } },
        tooltip: {
          callbacks: {
            title: (items) => (items.length > 0 ? `${Math.round(-items[0].parsed.x)} s ago` : ""),
            label: (item) => `${item.dataset.label}: ${this.format(this.group, item.parsed.y)}`,
          },
        },
      },
      scales: {
        x: {
          type: "linear",
          min: -HISTORY_SECONDS,
          max: 0,
          grid: { display: false },
          ticks: { ...ticks(minutes), stepSize: 120 },
        },
        y: {
          beginAtZero: true,
          grid: { drawBorder: false },
          ticks: ticks((y) => this.format(this.group, y).replace(".0 ", " ")),
        },
      },
    };
  }

  lines(group, history) {
    const present = group.members.filter((member) => history.members.has(memberKey(member)));
    const seriesOf = (member) => history.members.get(memberKey(member))[this.what];
    if (present.length <= LINES)
      return present.map((member) =>
        lineOf(memberName(group, member), memberColour(group, member), seriesOf(member).points),
      );
    const { largest, mean, smallest } = summarise(present.map(seriesOf));
    return [
      lineOf("largest", themeColour("--warn"), largest),
      lineOf("mean", themeColour("--ink"), mean, 2.2),
      lineOf("smallest", themeColour("--accent"), smallest),
    ];
  }

  show(group, history, now) {
    this.group = group;
    const ago = (point) => ({ x: point.x - now, y: point.y });
    const lines = this.lines(group, history);
    for (const line of lines) line.data = line.data.map(ago);
    const { options } = this.chart;
    // A page that was opened a minute ago shows a minute.
    const oldest = Math.min(-60, ...lines.map((line) => line.data[0]?.x ?? 0));
    options.scales.x.min = Math.max(-HISTORY_SECONDS, Math.floor(oldest / 60) * 60);
    options.scales.x.ticks.stepSize = options.scales.x.min < -300 ? 120 : 60;
    options.scales.x.ticks.color = options.scales.y.ticks.color = themeColour("--soft");
    options.scales.y.grid.color = themeColour("--line");
    const most = lines.flatMap((line) => line.data).reduce((top, { y }) => Math.max(top, y ?? 0), this.least(group));
    options.scales.y.suggestedMax = this.least(group);
    options.scales.y.ticks.stepSize = this.step(group, most);
    options.plugins.legend.display = group.members.length > LINES;
    options.plugins.legend.labels.color = themeColour("--soft");
    this.chart.data.datasets = lines;
    this.chart.update("none");
    const values = lines.map((line) => lastOf(line.data)).filter((value) => value !== null);
    const latest = values.length > 0 ? `; now ${this.format(group, Math.max(...values))} at most` : "";
    setText(byId(`${this.what}-caption`), this.words(group) + latest);
  }
}

export class Charts {
  constructor() {
    this.rate = new History(
      "rate",
      (_, value) => rateText(value),
      () => "Rate of each member, a second",
      () => 10,
    );
    this.queue = new History(
      "queue",
      (group, value) => queueText(group ?? {}, Math.round(value)),
      (group) => `${group.protocol === "tcp" ? "Connections" : "Bytes"} in each queue`,
      (group) => (group.protocol === "tcp" ? 8 : 8192),
      (group, most) => (group.protocol === "tcp" ? undefined : bytesStep(most)),
    );
  }
  show(group, history, now) {
    if (group === undefined || history === undefined) return;
    this.rate.show(group, history, now);
    this.queue.show(group, history, now);
  }
}
