// SPDX-License-Identifier: MIT
// What the page makes of the daemon's documents, without a browser: node --test.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ageText,
  bytesStep,
  bytesText,
  columnsFor,
  flowsOf,
  groupRates,
  idealShares,
  levelOf,
  Model,
  rateText,
  Series,
  sortedGroups,
  troubles,
} from "../../dashboard/model.js";
import { readTable } from "../../dashboard/table.js";

function member(instance, more = {}) {
  return {
    instance, member: 0, state: "active", pid: 100 + instance, command: "dns", weight: 100, cpus: "0",
    cookie: 1 + instance, selected: 0, migrated: 0, queue_bytes: 0, queue_limit_bytes: 1000, drops: 0,
    backlog: 0, backlog_limit: 0, open_connections: 0, since: "2026-01-01T00:00:00Z", ...more,
  };
}

function group(members, more = {}) {
  const home = members.reduce((all, each) => all + each.selected, 0);
  return {
    id: "udp/127.0.0.1:53", protocol: "udp", mode: "hash", vacancy: "spread", total: members.length,
    generation: 1, uid: 0, imbalance: 1, selections: { home, alternative: 0, kernel: 0, refused: 0 },
    members, strangers: [], ...more,
  };
}

const kinds = (found) => found.map((trouble) => trouble.kind);
const ratesOf = (before, now, seconds = 1) => groupRates(before, now, seconds);

test("rates are growth over time; the daemon's own are better", () => {
  const before = group([member(0, { selected: 100, drops: 1 })]);
  const now = group([member(0, { selected: 300, drops: 5 })]);
  const rates = ratesOf(before, now, 2);
  assert.equal(rates.total, 100);
  assert.equal(rates.drops, 2);
  assert.deepEqual(rates.members.get("0.0"), { selected: 100, drops: 2 });
  const said = ratesOf(before, { ...now, rate: 7 }, 2);
  assert.equal(said.total, 7);
  assert.ok(Math.abs(said.outcomes.home - 7) < 1e-9); // a part of the total
});

test("no rate: the first look, new members, counters that went back, another socket's drops", () => {
  const now = group([member(0, { selected: 5, drops: 9 })]);
  assert.equal(ratesOf(undefined, now).total, null);
  assert.equal(ratesOf(group([]), now).members.get("0.0").selected, null);
  assert.equal(ratesOf(group([member(0, { selected: 6 })]), now).total, null);
  const other = group([member(0, { selected: 5, drops: 3, cookie: 77 })]);
  assert.equal(ratesOf(other, now).members.get("0.0").drops, null);
});

test("shares that should be: by weight, over the active, within the instance", () => {
  const shares = idealShares(
    group([
      member(0, { weight: 300 }), member(0, { weight: 300, member: 1 }), member(1),
      member(2, { state: "draining" }), member(3, { vacant: true }),
    ]),
  );
  assert.deepEqual([...shares.values()], [0.375, 0.375, 0.25, 0, 0]);
});

test("all is well", () => {
  const now = group([member(0), member(1)]);
  assert.deepEqual(troubles(now, ratesOf(now, now)), []);
  assert.equal(levelOf([]), "ok");
});

test("what is wrong, by instance", () => {
  const now = group(
    [
      member(0, { queue_bytes: 900, drops: 7 }), member(1, { state: "draining" }),
      member(2, { vacant: true, state: "draining" }), member(3, { state: "held" }),
    ],
    { total: 4, strangers: [{ pid: 9, command: "odd", cookie: 9, reason: "it is not ours" }] },
  );
  const before = group([member(0)], { total: 4 });
  const found = troubles(now, ratesOf(before, now));
  assert.deepEqual(kinds(found), ["stranger", "drops", "missing", "held", "draining", "queue"]);
  assert.equal(found[0].text, "a stranger may take traffic: process 9 (odd), it is not ours");
  assert.equal(found[2].text, "instance 2 is missing");
  assert.equal(levelOf(found), "bad");
});

test("many that are missing are counted, a few are named", () => {
  const found = troubles(group([member(0)], { total: 9 }), ratesOf(undefined, group([])));
  assert.equal(found[0].text, "8 instances are missing: 1, 2, 3, 4, …");
  assert.equal(troubles(group([], { total: 2 }), ratesOf(undefined, group([])))[0].level, "bad");
});

test("an instance with one active socket is not away, whatever its others do", () => {
  const now = group([member(0), member(0, { member: 1, state: "draining" })], { total: 1 });
  assert.deepEqual(troubles(now, ratesOf(now, now)), []);
});

test("an imbalance tells something where there is traffic", () => {
  const now = group([member(0)], { imbalance: 3 });
  assert.deepEqual(kinds(troubles({ ...now, rate: 5 }, ratesOf(now, { ...now, rate: 5 }))), []);
  assert.deepEqual(kinds(troubles(now, ratesOf(now, { ...now, rate: 500 }))), ["imbalance"]);
});

test("a foreign program, a pending generation", () => {
  const now = group([member(0)], { foreign: true, foreign_reason: "its own", pending: { generation: 2, total: 3 } });
  assert.deepEqual(kinds(troubles(now, ratesOf(now, now))), ["foreign", "pending"]);
});

test("ten minutes, and no more", () => {
  const series = new Series(600);
  for (let x = 0; x < 2000; x++) series.add(x, x);
  assert.equal(series.points.length, 601);
  assert.equal(series.points[0].x, 1399);
});

test("history: gaps while nothing is known, groups that have gone are forgotten", () => {
  const model = new Model();
  const now = group([member(0)]);
  model.look({ groups: [now] }, 1);
  model.gap(2);
  model.look({ groups: [now] }, 3);
  const history = model.history.get(now.id);
  assert.deepEqual(history.rate.points.map((point) => point.y), [null, null, 0]);
  assert.deepEqual(history.member("0.0").queue.points.map((point) => point.y), [0, null, 0]);
  model.look({ groups: [] }, 4);
  assert.equal(model.history.size, 0);
});

test("sums, and the order of the list", () => {
  const model = new Model();
  const groups = [
    group([member(0)], { id: "udp/a", rate: 5 }),
    group([member(0)], { id: "udp/b", rate: 50, total: 2 }),
    group([member(0, { command: "nginx" })], { id: "tcp/c", rate: 1, strangers: [{ pid: null, reason: "x" }] }),
  ];
  model.look({ groups }, 1);
  const ids = (...how) => sortedGroups(model, ...how).map((each) => each.id);
  assert.deepEqual(ids("health"), ["tcp/c", "udp/b", "udp/a"]);
  assert.deepEqual(ids("rate"), ["udp/b", "udp/a", "tcp/c"]);
  assert.deepEqual(ids("name", " NGINX "), ["tcp/c"]);
  assert.deepEqual(model.sums(), { groups: 3, members: 3, active: 3, rate: 56, drops: 0, strangers: 1 });
});

const TABLE = {
  group: "g", mode: "hash", total: 3, plan: 9,
  slots: [{ slot: 0, instance: 0, member: 0 }, { slot: 1, instance: 1, member: 0 }, { slot: 4, instance: 2, member: 0 }],
  domains: [{ cpus: "", buckets: 6, slot: [[0, 3], [1, 2], [null, 1]], former: [[null, 2], [4, 2], [7, 1], [4, 1]], moved: [[1, 2], [8, 1], [5, 1], [8, 2]] }],
};

test("the table: runs unrolled, and what the last change moved", () => {
  const table = readTable(TABLE);
  assert.deepEqual(table.rows[0].buckets, ["0.0", "0.0", "0.0", "1.0", "1.0", null]);
  assert.equal(table.plan, 8); // a later plan moved nothing
  assert.deepEqual(table.moved.map(({ bucket, from, to }) => [bucket, from, to]), [
    [2, "2.0", "0.0"],
    [4, null, "1.0"], // a slot that nobody holds any more
    [5, "2.0", null],
  ]);
  assert.deepEqual(flowsOf(table.moved), [
    { from: "2.0", given: 2, to: [["0.0", 1], [null, 1]] },
    { from: null, given: 1, to: [["1.0", 1]] },
  ]);
});

test("columns are a multiple of the total, and full lines where that costs little", () => {
  assert.equal(columnsFor(1024, 4, 84), 64);
  assert.equal(columnsFor(1023, 3, 80), 78);
  assert.equal(columnsFor(8, 8, 500), 8);
  assert.equal(columnsFor(65536, 4096, 120), 120);
  assert.equal(columnsFor(1, 1, 0), 1);
});

test("text", () => {
  assert.deepEqual([null, 0, 0.25, 12, 9999, 12345, 234567, 5e6].map(rateText), ["–", "0", "0.3", "12", "9,999", "12.3k", "235k", "5.00M"]);
  assert.deepEqual([0, 1023, 2048, 212992, 16 << 20].map(bytesText), ["0 B", "1023 B", "2.0 KiB", "208 KiB", "16.0 MiB"]);
  assert.deepEqual([8192, 100000, 1].map(bytesStep), [2048, 32768, 1]);
  const at = Date.parse("2026-01-01T00:00:00Z") / 1000;
  assert.equal(ageText("2026-01-01T00:00:00Z", at + 7200), "2 h");
  assert.equal(ageText("?", at), "–");
});
