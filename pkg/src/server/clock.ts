// Time that stands still until somebody moves it.

import type { Environment } from '../environment.js';

/** What a server needs of time. */
export type Clock = Omit<Environment, 'randomBytes'>;

interface Event {
  readonly due: number;
  readonly callback: () => void;
}

/** When every manual clock begins: 2025 in UTC, so that runs can be compared. */
const BEGINNING = Date.UTC(2025, 0, 1);

/** A clock that moves only when it is told to. What is due at the same time comes in the order in which it was set. */
export class ManualClock implements Clock {
  #now = BEGINNING;
  /** In the order in which they come. */
  readonly #events: Event[] = [];

  now(): number {
    return this.#now;
  }

  setTimeout(callback: () => void, delay: number): unknown {
    const event = { due: this.#now + Math.max(0, delay || 0), callback };
    let at = this.#events.length;
    while (at > 0 && this.#events[at - 1]!.due > event.due) at--;
    this.#events.splice(at, 0, event);
    return event;
  }

  clearTimeout(handle: unknown): void {
    const at = this.#events.indexOf(handle as Event);
    if (at >= 0) this.#events.splice(at, 1);
  }

  /** Moves on to the first event, if that is due by `until`, and runs it. Returns whether there was one. */
  step(until: number): boolean {
    const first = this.#events[0];
    if (first === undefined || first.due > until) return false;
    this.#events.shift();
    this.#now = first.due;
    first.callback();
    return true;
  }

  /** Moves on to `until`; nothing is due before. */
  moveTo(until: number): void {
    this.#now = Math.max(this.#now, until);
  }
}

/** As it was before any test replaced it. */
const later = globalThis.setTimeout;

/** Lets everything run that waits for nothing but its turn: promises, however many hang on each other. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    // jsdom has none.
    if (typeof MessageChannel === 'undefined') return void later(resolve);
    // No timer: a test may have replaced those, and browsers stretch them.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
