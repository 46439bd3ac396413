// SPDX-License-Identifier: MIT
// The daemon's side of the page: documents that are asked for, and events that come by themselves.

const PATIENCE = 3000; // ms: a daemon that hangs is a daemon that has gone

export const POLL = 1000; // ms between two looks
const SOON = 250; // ms after an event: the daemon has planned anew, and its sample is of then
const POLL_LARGE = 3000; // where a document is megabytes
const LARGE = 1 << 20;

// Throws if nobody answers, or with something else than JSON; null where the daemon knows no such
// thing.
export async function fetchJson(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const text = await response.text();
  return { text, json: JSON.parse(text) };
}

export const groupPath = (id, part = "") => `/api/v1/groups/${encodeURIComponent(id)}${part}`;

// Calls `look()`, which gives back how much it has read, again and again, never twice at a time.
export class Poller {
  constructor(look) {
    this.look = look;
    this.timer = null;
    this.running = false;
    this.hurried = false;
  }
  async now() {
    if (this.running) return;
    clearTimeout(this.timer);
    this.running = true;
    this.hurried = false;
    const began = performance.now();
    const read = await this.look();
    this.running = false;
    const pause = read > LARGE ? POLL_LARGE : POLL;
    this.wait(this.hurried ? SOON : Math.max(50, pause - (performance.now() - began)));
  }
  // Something happened.
  soon() {
    if (this.hurried) return;
    this.hurried = true;
    if (!this.running) this.wait(SOON);
  }
  wait(pause) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), pause);
  }
}

// Server-sent events. The browser connects again by itself while the server accepts; it gives up
// when it is refused, and then this tries again.
export function follow(path, onEvent) {
  const source = new EventSource(path);
  const take = (message) => {
    let event;
    try {
      event = JSON.parse(message.data);
    } catch {
      return; // a later version's
    }
    onEvent(event, message.lastEventId);
  };
  source.onmessage = take;
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => follow(path, onEvent), POLL);
  };
}
