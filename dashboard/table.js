// SPDX-License-Identifier: MIT
// A document of /api/v1/groups/ID/table as the page uses it: runs are unrolled, buckets name members
// instead of slots, and what the last change moved is picked out.
import { memberKey } from "./model.js";

function unroll(runs) {
  const values = [];
  for (const [value, count] of runs) for (let i = 0; i < count; i++) values.push(value);
  return values;
}

// {id, total, rows: [{name, buckets: [member's key or null]}], members: Map of key -> {instance,
//  member}, plan: number of the plan that moved something last, moved: [{row, bucket, from, to}]}
export function readTable(json) {
  const members = new Map();
  const keys = new Map([[null, null]]);
  for (const { slot, ...member } of json.slots) {
    keys.set(slot, memberKey(member));
    members.set(memberKey(member), member);
  }
  // A slot that nobody holds any more has no name.
  const keyOf = (slot) => keys.get(slot) ?? null;
  const rows = [];
  const everMoved = [];
  json.domains.forEach((domain, row) => {
    const slots = unroll(domain.slot);
    const former = unroll(domain.former);
    rows.push({ name: domain.cpus, buckets: slots.map(keyOf) });
    unroll(domain.moved).forEach((plan, bucket) => {
      const [from, to] = [former[bucket], slots[bucket]];
      // What nobody had before was dealt out, not moved.
      if (from !== null && from !== to)
        everMoved.push({ plan, row, bucket, from: keyOf(from), to: keyOf(to) });
    });
  });
  const plan = everMoved.reduce((last, bucket) => Math.max(last, bucket.plan), 0);
  const moved = everMoved.filter((bucket) => bucket.plan === plan);
  return { id: json.group, total: json.total, rows, members, plan, moved };
}
