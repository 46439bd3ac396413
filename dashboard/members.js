// SPDX-License-Identifier: MIT
// One group: what it is, and a row for each of its members.
import { colourOf } from "./colours.js";
import { byId, element, Keyed, setAttribute, setClass, setProperty, setText } from "./dom.js";
import {
  ageText,
  countText,
  idealShares,
  isVacant,
  levelOf,
  memberKey,
  memberName,
  percentText,
  queueFullness,
  queueText,
  queueUsed,
  rateText,
  stateOf,
} from "./model.js";

// The same member has the same colour for as long as the group has this total.
export const memberColour = (group, member) =>
  colourOf(member.instance + group.total * member.member);

const HEALTH_WORDS = { ok: "all is well", warn: "wants a look", bad: "needs a hand" };

function facts(list, pairs) {
  list.replaceChildren(
    ...pairs.map(([name, value, level]) =>
      element(
        "div",
        {},
        element("dt", {}, name),
        element("dd", level ? { class: level } : {}, String(value)),
      ),
    ),
  );
}

function makeBar(label) {
  const fill = element("span", { class: "fill" });
  const node = element("span", { class: "bar", "aria-hidden": "true" }, fill);
  if (label) node.append(element("span", { class: "tick" }));
  return { node, fill, tick: node.querySelector(".tick") };
}

function makeCell(label, classes = "") {
  return element("td", { "data-label": label, ...(classes ? { class: classes } : {}) });
}

function makeRow(view) {
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  const name = element("span", { class: "name" });
  const state = element("span", { class: "state" });
  const process = makeCell("Process", "process");
  const cpus = makeCell("CPUs", "aside soft");
  const weight = makeCell("Weight", "number aside");
  const rate = makeCell("Rate/s", "number");
  const share = makeBar(true);
  const shareText = element("span", { class: "value" });
  const queue = makeBar(false);
  const queueValue = element("span");
  const queueBox = element("div", { class: "queue" }, queue.node, queueValue);
  const open = makeCell("Open", "number tcp");
  const drops = element("span");
  const dropsCell = makeCell("Drops", "number");
  dropsCell.append(drops);
  const since = makeCell("Since", "number soft aside");
  const node = element(
    "tr",
    {},
    element("td", {}, swatch, name),
    element("td", {}, state),
    process,
    cpus,
    weight,
    rate,
    element("td", { class: "share-cell" }, element("div", { class: "share" }, share.node, shareText)),
    element("td", { "data-label": "Queue" }, queueBox),
    open,
    dropsCell,
    since,
  );
  const update = (member) => {
    const { group, rates, ideals, scale, now } = view;
    const own = rates.members.get(memberKey(member));
    const ideal = ideals.get(memberKey(member));
    const part = rates.total > 0 && own.selected !== null ? own.selected / rates.total : null;
    const full = queueFullness(group, member);
    const colour = memberColour(group, member);
    setProperty(node, "--colour", colour);
    setText(name, memberName(group, member));
    setText(state, stateOf(member));
    setAttribute(state, "class", `state ${stateOf(member)}`);
    setClass(node, "away", stateOf(member) !== "active");
    setText(process, member.pid ? `${member.pid} ${member.command ?? ""}` : "–");
    setText(cpus, member.cpus || "–");
    setText(weight, member.weight);
    setText(rate, rateText(own.selected));
    setProperty(share.fill, "--part", Math.min(1, (part ?? 0) / scale).toFixed(4));
    setProperty(share.tick, "--ideal", Math.min(1, ideal / scale).toFixed(4));
    share.tick.hidden = ideal === 0;
    setText(shareText, percentText(part));
    setAttribute(shareText, "title", `should be ${percentText(ideal)}`);
    setProperty(queue.fill, "--part", full.toFixed(3));
    setClass(queueBox, "warn", full >= 0.5 && full < 0.8);
    setClass(queueBox, "bad", full >= 0.8);
    setText(queueValue, isVacant(member) ? "–" : queueText(group, queueUsed(group, member)));
    setText(open, countText(member.open_connections));
    setText(drops, own.drops > 0 ? `${countText(member.drops)} (+${rateText(own.drops)}/s)` : countText(member.drops));
    setClass(drops, "alarm", own.drops > 0);
    setText(since, isVacant(member) ? "–" : ageText(member.since, now));
  };
  return { node, update };
}

export class GroupView {
  constructor(model) {
    this.model = model;
    this.view = {};
    this.rows = new Keyed(byId("member-rows"), memberKey, () => makeRow(this.view));
    this.troubles = new Keyed(
      byId("group-troubles"),
      (trouble) => trouble.text,
      (trouble) => ({ node: element("li", { class: trouble.level }, trouble.text), update() {} }),
    );
  }

  show(group) {
    byId("group").hidden = group === undefined;
    if (group === undefined) return;
    const rates = this.model.rates.get(group.id);
    const found = this.model.troubles.get(group.id);
    const ideals = idealShares(group);
    const shares = group.members.map((member) => {
      const own = rates.members.get(memberKey(member)).selected;
      return rates.total > 0 && own !== null ? own / rates.total : 0;
    });
    // The bars' full width: twice the largest share that anybody should have, or what somebody has.
    const scale = Math.min(1, Math.max(0.001, 2 * Math.max(0, ...ideals.values()), ...shares));
    Object.assign(this.view, { group, rates, ideals, scale, now: Date.now() / 1000 });
    this.showHead(group, rates, found);
    setAttribute(byId("members"), "class", group.protocol);
    this.rows.show(group.members);
    this.showOutcomes(group, rates);
  }

  showHead(group, rates, found) {
    const level = levelOf(found);
    setText(byId("group-title"), group.id);
    setText(byId("group-health"), HEALTH_WORDS[level]);
    setAttribute(byId("group-health"), "class", level);
    const imbalance = group.imbalance === null ? "–" : group.imbalance.toFixed(2);
    const skewed = found.some((trouble) => trouble.kind === "imbalance");
    facts(byId("group-facts"), [
      ["Rate", `${rateText(rates.total)}/s`],
      ["Imbalance", imbalance, skewed ? "warn" : ""],
      ["Mode", group.mode],
      ["Vacancy", group.vacancy],
      ["Generation", group.generation],
      ["Owner", `user ${group.uid}`],
    ]);
    this.troubles.show(found);
  }

  showOutcomes(group, rates) {
    const names = ["home", "alternative", "kernel", "refused"];
    const all = names.reduce((total, name) => total + group.selections[name], 0);
    const level = { kernel: "warn", refused: "bad" };
    byId("outcome-bar").replaceChildren(
      ...names.map((name) => {
        const part = element("span", { class: name });
        part.style.setProperty("--part", all > 0 ? group.selections[name] / all : 0);
        return part;
      }),
    );
    facts(
      byId("outcomes"),
      names.map((name) => [
        name,
        `${countText(group.selections[name])} (${rateText(rates.outcomes[name])}/s)`,
        rates.outcomes[name] > 0 ? level[name] : "",
      ]),
    );
  }
}
