// SPDX-License-Identifier: MIT
// The daemon's side of the page: documents that are asked for, and events that come by themselves.

const PATIENCE = 3000; // ms: a daemon that hangs is a daemon that has gone

export const POLL = 1000; // ms between two looks
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

// Calls `look()`, which gives back how much it has read, again and again; at once when something
// happened. Never twice at the same time.
export class Poller {
  constructor(look) {
    this.look = look;
    this.timer = null;
    this.running = false;
    this.again = false;
  }
  async now() {
    if (this.running) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.running = true;
    const began = performance.now();
    const bytes = await this.look();
    this.running = false;
    const pause = bytes > LARGE ? POLL_LARGE : POLL;
    const left = Math.max(50, pause - (performance.now() - began));
    this.timer = setTimeout(() => this.now(), this.again ? 50 : left);
    this.again = false;
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
