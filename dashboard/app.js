// SPDX-License-Identifier: MIT
// Puts the page together: looks each second, and at once when something happens; says so when
// nobody answers. Where it is (which group) is in the address, so that it can be passed on.
import { fetchJson, follow, groupPath, Poller } from "./api.js";
import { Charts } from "./charts.js";
import { onSchemeChange } from "./colours.js";
import { byId, setAttribute, setText } from "./dom.js";
import { EventList } from "./events.js";
import { GroupList } from "./groups.js";
import { GroupView } from "./members.js";
import { Model, sortedGroups } from "./model.js";
import { SteeringView } from "./steering.js";
import { readTable } from "./table.js";

const model = new Model();
const list = new GroupList(model);
const view = new GroupView(model);
const charts = new Charts();
const steering = new SteeringView();
const events = new EventList(model);

const seconds = () => Date.now() / 1000;
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

// --- which group -------------------------------------------------------------------------------

function chosenInAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

// The one in the address; else the one that needs most attention, which then stays.
function choose() {
  const wanted = chosenInAddress();
  if (model.find(wanted)) model.selected = wanted;
  else if (!model.find(model.selected)) model.selected = sortedGroups(model, "health")[0]?.id ?? null;
}

addEventListener("hashchange", () => {
  choose();
  show();
  poller.now();
  byId("group").focus({ preventScroll: true });
  if (byId("group").getBoundingClientRect().top > innerHeight / 2)
    byId("group").scrollIntoView({ block: "start" });
});

// --- looking -----------------------------------------------------------------------------------

let goneSince = null;

function daemonIsBack() {
  if (goneSince === null) return;
  events.add({ time: new Date().toISOString(), event: "daemon is back", detail: `after ${Math.round(seconds() - goneSince)} s` });
  goneSince = null;
}

function daemonHasGone() {
  if (goneSince === null) {
    goneSince = seconds();
    if (model.at !== null)
      events.add({ time: new Date().toISOString(), event: "daemon has gone", detail: "steering goes on" });
  }
  model.gap(seconds());
}

function showConnection() {
  const gone = goneSince !== null;
  document.body.classList.toggle("stale", gone);
  byId("gone").hidden = !gone;
  if (gone) setText(byId("gone-since"), ` since ${clock(goneSince)}`);
  setAttribute(byId("connection"), "data-state", gone ? "gone" : "live");
  setText(byId("connection"), gone ? "daemon gone" : "live");
  document.title = gone ? "gone – subset" : title();
}

function title() {
  const bad = [...model.troubles.values()].flat().filter((trouble) => trouble.level === "bad").length;
  return bad > 0 ? `(${bad}) subset` : "subset";
}

async function tableOf(group) {
  const read = await fetchJson(groupPath(group.id, "/table"));
  return read ? readTable(read.json) : null;
}

let table = null;
let text = "";

// The daemon answers from its last sample: the same text again soon is no look of its own, and
// would show no traffic.
const SAME_SAMPLE = 2.5;

function take(read) {
  const now = seconds();
  if (read.text === text && goneSince === null && now - model.at < SAME_SAMPLE) return;
  text = read.text;
  model.look(read.json, now);
}

async function look() {
  let size = 0;
  try {
    const read = await fetchJson("/api/v1/groups");
    size = read.text.length;
    take(read);
    daemonIsBack();
    choose();
    const group = model.find(model.selected);
    table = group ? await tableOf(group).catch(() => null) : null;
  } catch {
    daemonHasGone();
  }
  show();
  return size;
}

function show() {
  const group = model.find(model.selected);
  if (goneSince === null && model.at !== null) {
    list.show();
    view.show(group);
    if (group) steering.show(group, table?.id === group.id ? table : null, seconds());
    events.show();
  }
  if (model.at !== null) charts.show(group, model.history.get(model.selected), seconds());
  if (model.at !== null || goneSince !== null) showConnection();
}

const poller = new Poller(look);

setText(byId("host"), location.host);
onSchemeChange(show);
follow("/api/v1/events?recent", (event, id) => {
  if (events.add(event, id)) poller.soon();
});
poller.now();

