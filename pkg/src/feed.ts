// What has no history: relays, the mailbox, watches. Messages come as the core got them, each told once.

import { Ask, Change, MetaFact, NoGate, type Target, Text } from './core.js';
import { badKey, closed, denied, type TidewireError } from './errors.js';
import type { Runtime, Slot } from './runtime.js';

/** A message as it came: its kind, then its fields. */
export type Fields = readonly [kind: number, ...fields: unknown[]];

/** What a feed is told. It must not throw. */
export interface FeedListener {
  hear(message: Fields): void;
  /** The server does not let this client follow it, and sends nothing more. */
  deny(error: TidewireError): void;
}

/** One subscription without a history. */
export class Feed implements Slot {
  isDue = false;
  #due: (() => void)[] = [];
  #ended = false;

  #slot: number;

  /**
   * Follows `target`; a watch has a `group` and a `key`.
   *
   * @throws TidewireError `closed` if the client is closed, `invalid_argument` for a key over its limit.
   */
  constructor(
    readonly runtime: Runtime, readonly target: Target, readonly group: string, readonly key: string, readonly listener: FeedListener,
  ) {
    if (runtime.isRetired) throw closed();
    this.#slot = this.#enter();
    if (this.#slot === 0) throw badKey();
    runtime.attach(this.#slot, this);
    runtime.settle();
  }

  #enter(): number {
    return this.runtime.subscribe(this.target, this.group, this.key, NoGate.Trust);
  }

  /** Whether nothing is missed at the moment. */
  get isFollowing(): boolean {
    return !this.#ended && this.runtime.memory.facts(this.runtime.core.ask(Ask.Meta, this.#slot))[MetaFact.IsReady] !== 0;
  }

  take(kind: Change, a: number): void {
    if (kind === Change.Fed) {
      // Its bytes are gone after this change list.
      const message = this.runtime.maker.once(a) as Fields;
      this.#due.push(() => this.listener.hear(message));
    } else if (kind === Change.Event && a === 3) {
      const error = denied(this.group || 'inbox', this.runtime.memory.text(Text.Denial, this.#slot));
      this.#due.push(() => this.listener.deny(error));
    }
  }

  show(): void {
    const due = this.#due;
    this.#due = [];
    for (const each of due) this.runtime.enqueue(() => { if (!this.#ended) each(); });
  }

  save(): void {
    // Nothing of the core is kept.
  }

  revive(): void {
    this.#slot = this.#enter();
    this.runtime.attach(this.#slot, this);
  }

  raise(): void {
    // Nobody reads cells of it.
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.runtime.detach(this.#slot, this);
    this.runtime.input(() => this.runtime.core.ask(Ask.Release, this.#slot));
  }
}
