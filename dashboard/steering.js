// SPDX-License-Identifier: MIT
// The steering table as a grid: a cell is a bucket, its colour the member that gets the flows of
// this bucket. Columns are a multiple of the total, so a table that nobody disturbed is stripes, and
// what a drain or a death moved stands out in the colours of those who took it. After a change what
// moved keeps its colour and a mark, and the rest steps back.
import { isDark, themeColour } from "./colours.js";
import { byId, element, setText } from "./dom.js";
import { bucketCounts, columnsFor, countText, flowsOf, memberName } from "./model.js";
import { memberColour } from "./members.js";

const LARGEST_CELL = 18;
const SMALLEST_CELL = 4;
const FEW_ROWS = 64; // of a table with a row for each CPU; beyond, the page says so

const placeOf = (row, bucket) => `${row}.${bucket}`;

// What the pointer or the arrow keys are at, said in a line below the grids.
class Grid {
  constructor(view, row) {
    this.view = view;
    this.row = row;
    this.at = 0;
    this.label = element("span", { class: "label" });
    this.canvas = element("canvas", { tabindex: "0", role: "img" });
    this.node = element("div", { class: "grid" }, this.label, this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => view.say(""));
    this.canvas.addEventListener("keydown", (event) => this.press(event));
    this.canvas.addEventListener("focus", () => this.choose(this.at));
    this.canvas.addEventListener("blur", () => this.draw());
  }

  layout() {
    const { table, group } = this.view;
    this.buckets = table.rows[this.row].buckets;
    const room = Math.max(200, this.view.room - (table.rows.length > 1 ? 84 : 0));
    const comfortable = Math.floor(room / Math.max(SMALLEST_CELL, this.buckets.length > 2048 ? 6 : 11));
    this.columns = columnsFor(this.buckets.length, group.total, comfortable);
    this.cell = Math.min(LARGEST_CELL, Math.max(SMALLEST_CELL, Math.floor(room / this.columns)));
    this.lines = Math.ceil(this.buckets.length / this.columns);
  }

  draw() {
    this.layout();
    const { canvas, cell, columns, lines } = this;
    const scale = window.devicePixelRatio || 1;
    canvas.width = columns * cell * scale;
    canvas.height = lines * cell * scale;
    canvas.style.width = `${columns * cell}px`;
    canvas.style.height = `${lines * cell}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    this.buckets.forEach((member, bucket) => this.drawCell(context, member, bucket));
    if (document.activeElement === canvas) this.outline(context, this.at);
    const several = this.view.table.rows.length > 1;
    setText(this.label, several ? `CPU ${this.view.table.rows[this.row].name}` : "");
    this.label.hidden = !several;
    canvas.setAttribute("aria-label", this.describe());
  }

  drawCell(context, member, bucket) {
    const { cell, columns, view } = this;
    const x = (bucket % columns) * cell;
    const y = Math.floor(bucket / columns) * cell;
    const gap = cell >= 8 ? 1 : 0.5;
    const changed = view.movedAt.size > 0;
    const moved = view.movedAt.has(placeOf(this.row, bucket));
    context.globalAlpha = changed && !moved ? (isDark() ? 0.34 : 0.3) : 1;
    context.fillStyle = member === null ? themeColour("--sunken") : view.colours.get(member);
    context.fillRect(x, y, cell - gap, cell - gap);
    context.globalAlpha = 1;
    if (!moved || cell < 7) return;
    // Where it came from, as a dot in that member's colour.
    const from = view.movedAt.get(placeOf(this.row, bucket));
    context.fillStyle = themeColour("--card");
    const middle = (cell - gap) / 2;
    context.beginPath();
    context.arc(x + middle, y + middle, cell * 0.27, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = from === null ? themeColour("--soft") : (view.colours.get(from) ?? themeColour("--soft"));
    context.beginPath();
    context.arc(x + middle, y + middle, cell * 0.17, 0, 2 * Math.PI);
    context.fill();
  }

  outline(context, bucket) {
    const { cell, columns } = this;
    context.strokeStyle = themeColour("--ink");
    context.lineWidth = 2;
    context.strokeRect((bucket % columns) * cell, Math.floor(bucket / columns) * cell, cell, cell);
  }

  describe() {
    const counts = [...bucketCounts(this.buckets)];
    const parts = counts.map(([member, count]) => `${this.view.nameOf(member)} has ${count}`);
    return `${this.buckets.length} buckets: ${parts.join(", ")}. Arrow keys go through them.`;
  }

  point(event) {
    const bucket =
      Math.floor(event.offsetY / this.cell) * this.columns + Math.floor(event.offsetX / this.cell);
    if (bucket >= 0 && bucket < this.buckets.length) this.tell(bucket);
  }

  press(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.choose(Math.min(this.buckets.length - 1, Math.max(0, this.at + step)));
  }

  choose(bucket) {
    this.at = bucket;
    this.draw();
    this.tell(bucket);
  }

  tell(bucket) {
    const { view } = this;
    const member = this.buckets[bucket];
    const from = view.movedAt.get(placeOf(this.row, bucket));
    const was = from === undefined ? "" : `, was ${view.nameOf(from)}'s`;
    view.say(`Bucket ${bucket}: ${view.nameOf(member)}${was}`);
  }
}

export class SteeringView {
  constructor() {
    this.grids = [];
    this.plans = new Map(); // by group's id: {plan, at}
    this.movedAt = new Map();
    this.colours = new Map();
    this.names = new Map();
    addEventListener("resize", () => this.draw());
  }

  say(text) {
    setText(byId("bucket"), text);
  }

  nameOf(member) {
    return member === null ? "nobody" : (this.names.get(member) ?? member);
  }

  // `table` as of now; null where there is none to be had.
  show(group, table, now) {
    byId("steering").hidden = !table;
    if (!table) return;
    // When the change happened is known if it did under our eyes.
    const last = this.plans.get(group.id);
    if (last === undefined) this.plans.set(group.id, { plan: table.plan, at: null });
    else if (last.plan !== table.plan) this.plans.set(group.id, { plan: table.plan, at: now });
    this.group = group;
    this.table = table;
    this.movedAt = new Map(
      table.moved.map(({ row, bucket, from }) => [placeOf(row, bucket), from]),
    );
    // Who has left is remembered, for the name and colour of what was taken from it.
    for (const [key, member] of table.members) {
      this.names.set(key, memberName(group, member));
      this.colours.set(key, memberColour(group, member));
    }
    this.showChange();
    this.draw();
  }

  showChange() {
    const { moved } = this.table;
    const all = this.table.rows.reduce((total, row) => total + row.buckets.length, 0);
    if (moved.length === 0) {
      setText(byId("moved"), `${countText(all)} buckets, none of which has moved.`);
      byId("moved-flows").replaceChildren();
      return;
    }
    const { at } = this.plans.get(this.group.id);
    const when = at === null ? "" : ` at ${new Date(at * 1000).toLocaleTimeString([], { hour12: false })}`;
    setText(
      byId("moved"),
      `The last change${when} moved ${countText(moved.length)} of ${countText(all)} buckets; the others stayed where they were.`,
    );
    const swatch = (member) => {
      const made = element("span", { class: "swatch", "aria-hidden": "true" });
      made.style.setProperty("--colour", this.colours.get(member) ?? themeColour("--soft"));
      return made;
    };
    byId("moved-flows").replaceChildren(
      ...flowsOf(moved).map(({ from, given, to }) => {
        const takers = to.flatMap(([member, count]) => [" ", swatch(member), `${this.nameOf(member)} ${count}`]);
        return element("li", {}, swatch(from), `${this.nameOf(from)} gave ${given}:`, ...takers);
      }),
    );
  }

  draw() {
    if (!this.table) return;
    const box = byId("grids");
    this.room = box.clientWidth - 8;
    const rows = Math.min(this.table.rows.length, FEW_ROWS);
    while (this.grids.length < rows) this.grids.push(new Grid(this, this.grids.length));
    this.grids.length = rows;
    if (box.children.length !== rows) box.replaceChildren(...this.grids.map((grid) => grid.node));
    for (const grid of this.grids) grid.draw();
  }
}
