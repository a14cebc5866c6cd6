// The replica of one object of a client's session. Its value lies in WebAssembly memory until somebody reads it.

import { type Cell, type CreateCell, Lazy, signalCell } from './cell.js';
import { Change, NO_CELL } from './core.js';
import { BaseReplica, type Replica } from './replica.js';
import type { Runtime } from './runtime.js';
import type { Gate } from './schema.js';

/** How to show a synced object. */
export interface SyncedOptions<T> {
  /** Where to show the value. Default: a signal that decodes the value when it is first read. */
  cell?: Cell<T | undefined> | undefined;
  /** How to make the cells of value and meta. Default: signals. */
  createCell?: CreateCell | undefined;
}

/** The values that a gate let pass, by ticket, until the core says that they are shown or forgotten. */
export class Outputs {
  readonly #values = new Map<number, unknown>();
  readonly #tickets = new Map<number, number>();

  keep(cell: number, ticket: number, value: unknown): void {
    this.#values.set(ticket, value);
    this.#tickets.set(cell, ticket);
  }

  has(ticket: number): boolean {
    return this.#values.has(ticket);
  }

  get(ticket: number): unknown {
    return this.#values.get(ticket);
  }

  forget(cell: number): void {
    const ticket = this.#tickets.get(cell);
    if (ticket === undefined) return;
    this.#tickets.delete(cell);
    this.#values.delete(ticket);
  }
}

export class SyncedReplica extends BaseReplica<unknown> implements Replica<unknown> {
  readonly #outputs = new Outputs();
  readonly #lazy: Lazy<unknown>;
  readonly #eager: Cell<unknown> | undefined;
  #shown = NO_CELL;
  #ticket = 0;

  constructor(
    runtime: Runtime, slot: number, gate: Gate | undefined, readonly key: string,
    { cell, createCell = signalCell }: SyncedOptions<unknown>,
  ) {
    super(runtime, slot, gate, createCell);
    this.#eager = cell;
    this.#lazy = new Lazy(createCell, () => this.#read());
  }

  readonly get = (): unknown => (this.#eager ?? this.#lazy).get();

  readonly peek = (): unknown => (this.#eager ?? this.#lazy).peek();

  protected current(): unknown {
    return this.peek();
  }

  protected takeValue(kind: Change, cell: number, ticket: number): void {
    switch (kind) {
      case Change.Value:
        this.#shown = cell;
        this.#ticket = ticket;
        this.#lazy.expire();
        this.valueChanged = true;
        this.metaDue();
        break;
      case Change.Judge: {
        const verdict = this.judge(this.runtime.decode(cell));
        if (verdict.ok) this.#outputs.keep(cell, ticket, verdict.value);
        this.core.judged(ticket, verdict.ok);
        break;
      }
      case Change.Freed:
        this.#outputs.forget(cell);
        break;
    }
  }

  protected showValue(): void {
    try {
      if (this.#eager) this.#eager.set(this.#read());
      else this.#lazy.announce();
    } catch (error) {
      this.raise(error);
    }
  }

  protected leave(): void {
    // What was shown stays readable, and its bytes are about to go.
    this.#lazy.keep(this.#lazy.peek());
    this.core.release(this.slot);
  }

  #read(): unknown {
    if (this.#shown === NO_CELL) return undefined;
    return this.#ticket === 0 ? this.runtime.decode(this.#shown) : this.#outputs.get(this.#ticket);
  }
}
