// SPDX-License-Identifier: MIT
// The list of groups, the sums, and what needs attention anywhere.
import { byId, element, Keyed, setAttribute, setClass, setText } from "./dom.js";
import { activeInstances, countText, levelOf, rateText, sortedGroups } from "./model.js";

const LEVEL_WORDS = { ok: "well", warn: "look", bad: "alarm" };

const ALARMS = 6; // that are spelt out
const ENOUGH = 8; // points for a line that says something

export const groupLink = (id) => `#${encodeURIComponent(id)}`;

// The rate of the last ten minutes as a line of a few dozen points.
function sparkPath(points, now, seconds) {
  const known = points.filter((point) => point.y !== null);
  if (known.length < ENOUGH) return "";
  const most = Math.max(1, ...known.map((point) => point.y));
  const step = Math.max(1, Math.floor(known.length / 60));
  const at = (point) => {
    const x = 100 * (1 - (now - point.x) / seconds);
    return `${x.toFixed(1)} ${(17 - (15 * point.y) / most).toFixed(1)}`;
  };
  const kept = known.filter((_, i) => i % step === 0 || i === known.length - 1);
  return `M${kept.map(at).join("L")}`;
}

function makeSpark() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of [
    ["viewBox", "0 0 100 18"],
    ["preserveAspectRatio", "none"],
    ["aria-hidden", "true"],
    ["class", "spark"],
  ])
    svg.setAttribute(name, value);
  const path = document.createElementNS(space, "path");
  svg.append(path);
  return { svg, path };
}

function makeEntry(model) {
  const dot = element("span", { class: "dot", "aria-hidden": "true" });
  const level = element("span", { class: "visually-hidden" });
  const id = element("span", { class: "id" });
  const rate = element("span", { class: "rate" });
  const more = element("span", { class: "more" });
  const { svg, path } = makeSpark();
  const link = element("a", {}, dot, id, rate, more, svg);
  link.prepend(level);
  const node = element("li", {}, link);
  const update = (group) => {
    const rates = model.rates.get(group.id);
    const found = model.troubles.get(group.id);
    const health = levelOf(found);
    setAttribute(link, "href", groupLink(group.id));
    setAttribute(link, "aria-current", String(group.id === model.selected));
    setClass(dot, "warn", health === "warn");
    setClass(dot, "bad", health === "bad");
    setText(level, `${LEVEL_WORDS[health]}: `);
    setText(id, group.id);
    setAttribute(id, "title", group.id);
    setText(rate, `${rateText(rates.total)}/s`);
    more.replaceChildren(...summary(group, found));
    const points = model.history.get(group.id).rate.points;
    const seconds = Math.max(30, Math.min(600, model.at - (points[0]?.x ?? model.at)));
    setAttribute(path, "d", sparkPath(points, model.at, seconds));
  };
  return { node, update };
}

function summary(group, found) {
  const active = `${activeInstances(group)}/${group.total}`;
  if (found.length > 0) {
    const worst = element("span", { class: found[0].level }, shortText(found[0]));
    return [`${active} · ${group.mode} · `, worst];
  }
  const imbalance = group.imbalance === null ? "" : ` · imbalance ${group.imbalance.toFixed(2)}`;
  return [`${active} · ${group.mode}${imbalance}`];
}

// In the list there is room for a few words.
function shortText(trouble) {
  return trouble.kind === "stranger" ? "a stranger" : trouble.text;
}

export class GroupList {
  constructor(model) {
    this.model = model;
    this.entries = new Keyed(byId("group-list"), (group) => group.id, () => makeEntry(model));
    this.alarms = new Keyed(byId("alarm-list"), (group) => group.id, () => makeAlarm(model));
    for (const control of ["group-filter", "group-order"])
      byId(control).addEventListener("input", () => this.show());
  }

  show() {
    const { model } = this;
    byId("no-groups").hidden = model.groups.length > 0;
    byId("group-tools").hidden = model.groups.length < 5;
    const filter = byId("group-filter").value;
    this.entries.show(sortedGroups(model, byId("group-order").value, filter));
    this.showSums();
    this.showAlarms();
  }

  showSums() {
    const sums = this.model.sums();
    setText(byId("sum-groups"), countText(sums.groups));
    const all = sums.members === sums.active;
    setText(byId("sum-members"), all ? countText(sums.members) : `${countText(sums.active)}/${countText(sums.members)}`);
    setText(byId("sum-rate"), rateText(sums.rate));
    setText(byId("sum-drops"), rateText(sums.drops));
    setText(byId("sum-strangers"), countText(sums.strangers));
    setClass(byId("sum-drops"), "alarm", sums.drops > 0);
    setClass(byId("sum-strangers"), "alarm", sums.strangers > 0);
  }

  showAlarms() {
    const ailing = sortedGroups(this.model, "health").filter(
      (group) => this.model.troubles.get(group.id).length > 0,
    );
    byId("alarms").hidden = ailing.length === 0;
    const worst = ailing.length > 0 ? levelOf(this.model.troubles.get(ailing[0].id)) : "ok";
    setClass(byId("alarms"), "bad", worst === "bad");
    this.alarms.show(ailing.slice(0, ALARMS));
    const left = ailing.length - ALARMS;
    byId("more-alarms").hidden = left <= 0;
    setText(byId("more-alarms"), `and ${left} more ${left === 1 ? "group" : "groups"}, below`);
  }
}

function makeAlarm(model) {
  const link = element("a");
  const text = element("span");
  const update = (group) => {
    setAttribute(link, "href", groupLink(group.id));
    setText(link, group.id);
    setText(text, model.troubles.get(group.id).map((trouble) => trouble.text).join(" · "));
  };
  return { node: element("li", {}, link, text), update };
}
