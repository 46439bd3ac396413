// SPDX-License-Identifier: MIT
// What the page knows of the groups and what follows from it: rates, health, history, and which
// buckets moved. No document, no network: tests/dashboard runs this without a browser.

export const HISTORY_SECONDS = 600;

// --- names ---------------------------------------------------------------------------------------

export const memberKey = (member) => `${member.instance}.${member.member}`;

// "2/4", and "2/4·1" for the second socket of an instance.
export const memberName = (group, member) =>
  `${member.instance}/${group.total}` + (member.member > 0 ? `·${member.member}` : "");

export const isVacant = (member) => member.vacant === true;
export const stateOf = (member) => (isVacant(member) ? "vacant" : member.state);

export function activeInstances(group) {
  const active = new Set();
  for (const member of group.members)
    if (stateOf(member) === "active") active.add(member.instance);
  return active.size;
}

// --- rates ---------------------------------------------------------------------------------------

const OUTCOMES = ["home", "alternative", "kernel", "refused"];

// Per second; null where it is not known: no look before, new since then, a counter that went back.
function growth(before, now, seconds) {
  if (before === undefined || now === undefined || now < before || !(seconds > 0)) return null;
  return (now - before) / seconds;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

function memberRates(before, now, seconds) {
  const sameSocket = before !== undefined && before.cookie === now.cookie;
  return {
    // The seat counts what was steered to it, whoever sits there; the socket counts its drops. The
    // daemon knows best how long it took: it has looked itself.
    selected: now.rate ?? growth(before?.selected, now.selected, seconds),
    drops: sameSocket ? growth(before.drops, now.drops, seconds) : null,
  };
}

export function groupRates(before, now, seconds) {
  const former = new Map((before?.members ?? []).map((member) => [memberKey(member), member]));
  const outcomes = Object.fromEntries(
    OUTCOMES.map((name) => [
      name,
      growth(before?.selections?.[name], now.selections?.[name], seconds),
    ]),
  );
  const counted = outcomes.home === null ? null : sum(Object.values(outcomes).map((rate) => rate ?? 0));
  // The daemon knows how long its samples were apart, the page only when they came: what it says is
  // the sum, of which each outcome is a part.
  if (typeof now.rate === "number" && counted > 0)
    for (const name of OUTCOMES) outcomes[name] *= now.rate / counted;
  const members = new Map(
    now.members.map((member) => [
      memberKey(member),
      memberRates(former.get(memberKey(member)), member, seconds),
    ]),
  );
  return {
    total: now.rate ?? counted,
    outcomes,
    drops: sum([...members.values()].map((rates) => rates.drops ?? 0)),
    members,
  };
}

// --- shares and queues ---------------------------------------------------------------------------

// What an active member should get: its instance's weight among the instances that are active,
// divided by the active members of its instance.
export function idealShares(group) {
  const weights = new Map();
  const sockets = new Map();
  for (const member of group.members) {
    if (stateOf(member) !== "active") continue;
    weights.set(member.instance, member.weight);
    sockets.set(member.instance, (sockets.get(member.instance) ?? 0) + 1);
  }
  const all = sum([...weights.values()]);
  return new Map(
    group.members.map((member) => [
      memberKey(member),
      stateOf(member) === "active" && all > 0
        ? member.weight / all / sockets.get(member.instance)
        : 0,
    ]),
  );
}

export const queueUsed = (group, member) =>
  group.protocol === "tcp" ? member.backlog : member.queue_bytes;
export const queueLimit = (group, member) =>
  group.protocol === "tcp" ? member.backlog_limit : member.queue_limit_bytes;

export function queueFullness(group, member) {
  const limit = queueLimit(group, member);
  return limit > 0 ? Math.min(1, queueUsed(group, member) / limit) : 0;
}

// --- health --------------------------------------------------------------------------------------

// The imbalance that chance alone brings shrinks with the traffic; below this rate it says nothing.
const TELLING_RATE = 100;
const IMBALANCE_LIMIT = 1.5;
const FULL_QUEUE = 0.8;

function strangerText(stranger) {
  const who = stranger.pid ? `process ${stranger.pid}` : "an unknown process";
  const command = stranger.command ? ` (${stranger.command})` : "";
  return `a stranger may take traffic: ${who}${command}, ${stranger.reason}`;
}

// "instance 2 drains", "3 instances drain: 1, 2, 5", "9 instances drain: 1, 2, 3, 4, …"
function instancesText(instances, one, many) {
  if (instances.length === 1) return `instance ${instances[0]} ${one}`;
  const named = instances.slice(0, 4).join(", ") + (instances.length > 4 ? ", …" : "");
  return `${instances.length} instances ${many}: ${named}`;
}

// Instances without an active member, by why: the state of what they still have, or "missing".
function awayInstances(group) {
  const states = new Map();
  for (const member of group.members) {
    if (isVacant(member)) continue;
    if (!states.has(member.instance)) states.set(member.instance, new Set());
    states.get(member.instance).add(member.state);
  }
  const away = { missing: [], held: [], draining: [] };
  for (let instance = 0; instance < group.total; instance++) {
    const own = states.get(instance) ?? new Set();
    if (own.has("active")) continue;
    away[["held", "draining"].find((state) => own.has(state)) ?? "missing"].push(instance);
  }
  return away;
}

// What is wrong, the worst first: [{level: "bad" | "warn", kind, text}].
export function troubles(group, rates) {
  const found = [];
  const add = (level, kind, text) => found.push({ level, kind, text });
  for (const stranger of group.strangers ?? []) add("bad", "stranger", strangerText(stranger));
  if (group.foreign)
    add("bad", "foreign", `another program decides: ${group.foreign_reason ?? "the group's own was replaced"}`);
  if (rates.drops > 0) add("bad", "drops", `${rateText(rates.drops)} drops a second`);
  if (rates.outcomes.refused > 0)
    add("bad", "refused", `${rateText(rates.outcomes.refused)} turned away a second`);
  if (activeInstances(group) === 0) add("bad", "missing", "no instance gets traffic");

  const away = awayInstances(group);
  const words = [
    ["missing", "is missing", "are missing"],
    ["held", "is held", "are held"],
    ["draining", "drains", "drain"],
  ];
  for (const [kind, one, many] of words)
    if (away[kind].length > 0) add("warn", kind, instancesText(away[kind], one, many));
  const pending = group.members.filter((member) => stateOf(member) === "pending").length;
  if (group.pending)
    add("warn", "pending", `generation ${group.pending.generation} waits, with ${pending} of ${group.pending.total} so far`);
  if (rates.outcomes.kernel > 0)
    add("warn", "kernel", `${rateText(rates.outcomes.kernel)} a second left to the kernel's hash`);
  const full = group.members.filter((member) => queueFullness(group, member) >= FULL_QUEUE);
  const fullOnes = [...new Set(full.map((member) => member.instance))];
  if (full.length > 0)
    add("warn", "queue", instancesText(fullOnes, "has a queue that is nearly full", "have queues that are nearly full"));
  if (group.imbalance > IMBALANCE_LIMIT && rates.total >= TELLING_RATE)
    add("warn", "imbalance", `imbalance ${group.imbalance.toFixed(2)}`);
  return found;
}

export function levelOf(found) {
  if (found.some((trouble) => trouble.level === "bad")) return "bad";
  return found.length > 0 ? "warn" : "ok";
}

// --- history -------------------------------------------------------------------------------------

// Samples of the last ten minutes, the oldest first.
export class Series {
  constructor(seconds = HISTORY_SECONDS) {
    this.seconds = seconds;
    this.points = [];
  }
  // A gap (null) is a point too: a line must not cross the time when nothing was known.
  add(x, y) {
    this.points.push({ x, y });
    let old = 0;
    while (old < this.points.length && this.points[old].x < x - this.seconds) old++;
    if (old > 0) this.points.splice(0, old);
  }
}

class GroupHistory {
  constructor() {
    this.rate = new Series();
    this.members = new Map();
  }
  member(key) {
    if (!this.members.has(key)) this.members.set(key, { rate: new Series(), queue: new Series() });
    return this.members.get(key);
  }
  add(at, group, rates) {
    this.rate.add(at, rates.total);
    for (const member of group.members) {
      const series = this.member(memberKey(member));
      series.rate.add(at, rates.members.get(memberKey(member)).selected);
      series.queue.add(at, queueUsed(group, member));
    }
    // Who has left is forgotten when its last point is too old.
    for (const [key, series] of this.members) {
      const last = series.rate.points.at(-1);
      if (last.x < at - HISTORY_SECONDS) this.members.delete(key);
    }
  }
  gap(at) {
    this.rate.add(at, null);
    for (const series of this.members.values()) {
      series.rate.add(at, null);
      series.queue.add(at, null);
    }
  }
}

// Beyond so many members in all, only the group that is looked at keeps those of its own.
const MEMBERS_WITH_HISTORY = 2000;

// --- all of it -----------------------------------------------------------------------------------

export class Model {
  constructor() {
    this.groups = [];
    this.rates = new Map(); // by id
    this.troubles = new Map();
    this.history = new Map();
    this.at = null; // seconds, of the last look
    this.selected = null; // id
  }

  // A document of /api/v1/groups, read at this second.
  look(document, at) {
    const former = new Map(this.groups.map((group) => [group.id, group]));
    const seconds = this.at === null ? 0 : at - this.at;
    this.groups = document.groups;
    this.rates = new Map(
      this.groups.map((group) => [group.id, groupRates(former.get(group.id), group, seconds)]),
    );
    this.troubles = new Map(
      this.groups.map((group) => [group.id, troubles(group, this.rates.get(group.id))]),
    );
    this.at = at;
    this.remember(at);
  }

  remember(at) {
    const many = sum(this.groups.map((group) => group.members.length)) > MEMBERS_WITH_HISTORY;
    for (const group of this.groups) {
      if (!this.history.has(group.id)) this.history.set(group.id, new GroupHistory());
      const history = this.history.get(group.id);
      const members = many && group.id !== this.selected ? [] : group.members;
      history.add(at, { ...group, members }, this.rates.get(group.id));
    }
    for (const id of this.history.keys()) if (!this.find(id)) this.history.delete(id);
  }

  // Nothing was heard of the daemon.
  gap(at) {
    for (const history of this.history.values()) history.gap(at);
  }

  find(id) {
    return this.groups.find((group) => group.id === id);
  }

  sums() {
    const all = [...this.rates.values()];
    const known = all.map((rates) => rates.total).filter((rate) => rate !== null);
    const members = this.groups.flatMap((group) => group.members).filter((m) => !isVacant(m));
    return {
      groups: this.groups.length,
      members: members.length,
      active: members.filter((member) => member.state === "active").length,
      rate: known.length > 0 ? sum(known) : null,
      drops: sum(all.map((rates) => rates.drops)),
      strangers: sum(this.groups.map((group) => (group.strangers ?? []).length)),
    };
  }
}

// --- the steering table --------------------------------------------------------------------------

// Who gave how many buckets to whom: [{from, given, to: [[member, count], ...]}], most first.
export function flowsOf(moved) {
  const givers = new Map();
  for (const { from, to } of moved) {
    if (!givers.has(from)) givers.set(from, new Map());
    const takers = givers.get(from);
    takers.set(to, (takers.get(to) ?? 0) + 1);
  }
  return [...givers]
    .map(([from, takers]) => ({
      from,
      given: sum([...takers.values()]),
      to: [...takers].sort((a, b) => b[1] - a[1]),
    }))
    .sort((a, b) => b.given - a.given);
}

export function bucketCounts(buckets) {
  const counts = new Map();
  for (const member of buckets) counts.set(member, (counts.get(member) ?? 0) + 1);
  return counts;
}

// How many buckets side by side, at most `most`: the home of bucket b is instance b mod total, so a
// multiple of the total puts the buckets of one home below each other, and a table that nobody
// disturbed is stripes. Where the lines can be full with little loss of width, they are.
export function columnsFor(buckets, total, most) {
  const fit = Math.max(1, Math.min(buckets, most));
  if (total > fit) return fit;
  const widest = fit - (fit % total);
  for (let columns = widest; columns >= 0.6 * widest; columns -= total)
    if (buckets % columns === 0) return columns;
  return widest;
}

// --- text ----------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const countText = (count) =>
  count === null || count === undefined ? "–" : grouped.format(count);

export function rateText(rate) {
  if (rate === null || rate === undefined) return "–";
  if (rate >= 1e6) return `${(rate / 1e6).toFixed(2)}M`;
  if (rate >= 1e5) return `${(rate / 1e3).toFixed(0)}k`;
  if (rate >= 1e4) return `${(rate / 1e3).toFixed(1)}k`;
  if (rate > 0 && rate < 10) return rate.toFixed(1);
  return grouped.format(rate);
}

export function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit + 1 < units.length; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

// Between two lines of an axis that goes up to `most` bytes: bytes are counted in powers of two, and
// a line at 97.7 KiB would be read by nobody.
export const bytesStep = (most) => 2 ** Math.max(0, Math.ceil(Math.log2(most / 5)));

export const queueText = (group, amount) =>
  group.protocol === "tcp" ? grouped.format(amount) : bytesText(amount);

export const percentText = (part) =>
  part === null || Number.isNaN(part) ? "–" : `${(100 * part).toFixed(1)}%`;

export function ageText(since, now) {
  const seconds = Math.max(0, Math.floor(now - Date.parse(since) / 1000));
  if (Number.isNaN(seconds)) return "–";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

// --- order ---------------------------------------------------------------------------------------

const RANK = { bad: 0, warn: 1, ok: 2 };

// Of groups for the list: by "health" (the worst first), "rate" or "name".
export function sortedGroups(model, order, filter = "") {
  const level = (group) => RANK[levelOf(model.troubles.get(group.id))];
  const rate = (group) => model.rates.get(group.id).total ?? -1;
  const byName = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
  const orders = {
    health: (a, b) => level(a) - level(b) || byName(a, b),
    rate: (a, b) => rate(b) - rate(a) || byName(a, b),
    name: byName,
  };
  const wanted = filter.trim().toLowerCase();
  const matches = (group) =>
    group.id.toLowerCase().includes(wanted) ||
    group.members.some((member) => (member.command ?? "").toLowerCase().includes(wanted));
  return model.groups.filter(matches).sort(orders[order]);
}
