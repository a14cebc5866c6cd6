// Replicas that live as long as somebody else holds them.

import type { Change } from './core.js';
import type { Slot } from './runtime.js';

/**
 * Stands behind a slot for a handler that the runtime does not keep alive: that of a replica over an application's own
 * transport. Who can still hear of it holds it, the transport among them; once nobody does, it need not be told anything.
 */
export class WeakSlot implements Slot {
  isDue = false;
  readonly #handler: WeakRef<Slot>;

  constructor(handler: Slot) {
    this.#handler = new WeakRef(handler);
  }

  /** Whether this stands for `handler`. */
  isOf(handler: Slot): boolean {
    return this.#handler.deref() === handler;
  }

  take(kind: Change, a: number, b: number, c: number): void {
    this.#handler.deref()?.take(kind, a, b, c);
  }

  show(): void {
    this.#handler.deref()?.show();
  }

  save(): void {
    this.#handler.deref()?.save();
  }

  revive(): void {
    this.#handler.deref()?.revive();
  }

  raise(error: unknown): void {
    this.#handler.deref()?.raise(error);
  }
}
