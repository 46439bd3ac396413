// SPDX-License-Identifier: MIT
// What happened, the newest first.
import { byId, element } from "./dom.js";

const KEPT = 200;
const QUIET = 2000; // ms

// What wants a look is amber, what wants a hand red; an event of a later version has no colour.
const LEVELS = {
  joined: "ok",
  resumed: "ok",
  reclaimed: "ok",
  "daemon is back": "ok",
  drained: "warn",
  held: "warn",
  released: "warn",
  uncounted: "warn",
  left: "bad",
  stranger: "bad",
  foreign: "bad",
  unpinned: "bad",
  "daemon has gone": "bad",
};

function subject(event) {
  const parts = [];
  if (Number.isInteger(event.instance)) parts.push(`instance ${event.instance}`);
  if (event.pid) parts.push(`pid ${event.pid}${event.command ? ` (${event.command})` : ""}`);
  if (event.detail) parts.push(event.detail);
  return parts.join(" · ");
}

function entry(event) {
  const time = new Date(event.time);
  const node = element(
    "li",
    {},
    element(
      "time",
      { datetime: event.time, title: time.toLocaleString() },
      time.toLocaleTimeString([], { hour12: false }),
    ),
    element(
      "div",
      {},
      element("span", { class: `what ${LEVELS[event.event] ?? ""}` }, event.event),
      ` ${subject(event)}`,
      element("span", { class: "where" }, event.group ?? ""),
    ),
  );
  node.dataset.group = event.group ?? "";
  return node;
}

export class EventList {
  constructor(model) {
    this.model = model;
    this.list = byId("event-list");
    this.seen = new Set();
    byId("events-here").addEventListener("change", () => this.show());
    // What was before the page is not read out, event by event, to who cannot see.
    setTimeout(() => this.list.setAttribute("aria-live", "polite"), QUIET);
  }

  // `id`: the daemon's name for the event, the same when it is sent again; "" for our own. False: it
  // is here already.
  add(event, id = "") {
    if (id !== "" && this.seen.has(id)) return false;
    if (id !== "") this.seen.add(id);
    const node = entry(event);
    node.hidden = !this.wanted(node);
    this.list.prepend(node);
    while (this.list.children.length > KEPT) this.list.lastChild.remove();
    byId("no-events").hidden = true;
    return true;
  }

  wanted(node) {
    const { group } = node.dataset;
    return !byId("events-here").checked || group === "" || group === this.model.selected;
  }

  show() {
    for (const node of this.list.children) node.hidden = !this.wanted(node);
  }
}
