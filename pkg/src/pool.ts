// The replica of a merge pool: a map of fields that all its members write to, the last arrival of each counts.

import type { CreateCell } from './cell.js';
import { RowsReplica } from './collection.js';
import { Write } from './core.js';
import { invalid } from './errors.js';
import type { Observable } from './replica.js';
import type { Runtime } from './runtime.js';
import type { Gate } from './schema.js';
import { type DehydratedState, EMPTY } from './state.js';
import { checkKey, encode } from './value/encode.js';
import { list, map } from './value/message.js';

/** How to open a pool, and how to show it. */
export interface PoolOptions {
  /** Whether to make the pool where it does not exist. Default: yes. */
  create?: boolean | undefined;
  /**
   * Whether a field goes when whoever wrote it last is gone, as cursors and names of those present do. Counts for a pool that
   * is made; what this client wrote is written again after a lost connection. Default: no.
   */
  presence?: boolean | undefined;
  /** How to make the cells of fields and meta. Default: signals. */
  createCell?: CreateCell | undefined;
}

/** A live copy of a merge pool, and the way to change it. The schema is that of one field's value. */
export interface Pool<T> extends Observable<Readonly<Record<string, T>>> {
  readonly id: string;
  /** All fields (a tracked read). The object is the same until something changes. */
  fields(): Readonly<Record<string, T>>;
  /** All fields (an untracked read). */
  peekFields(): Readonly<Record<string, T>>;
  /** One field (a tracked read). It is the same value until the field changes. */
  get(field: string): T | undefined;
  /**
   * Sets fields; `null` takes one away. What is set before the present code ends goes out as one change. Resolves when that
   * is done at the server and shown here.
   */
  set(fields: Readonly<Record<string, T | null>>): Promise<void>;
  /** Takes a field away, as `set` does with `null`. */
  delete(field: string): Promise<void>;
}

export class PoolReplica extends RowsReplica<Readonly<Record<string, unknown>>> implements Pool<unknown> {
  readonly #hasPresence: boolean;
  /** The fields to be merged at the end of this microtask, encoded. */
  #merge: Map<string, Uint8Array> | undefined;
  #merged: Promise<void> = Promise.resolve();
  /** The fields that are there because this client is, by name. */
  readonly #mine = new Set<string>();

  constructor(runtime: Runtime, slot: number, gate: Gate | undefined, id: string, hasPresence: boolean, createCell?: CreateCell) {
    super(runtime, slot, gate, id, createCell);
    this.#hasPresence = hasPresence;
  }

  /** Nothing: who is there, and what they point at, is over by the time that somebody goes on from it. */
  protected override shownAt(): DehydratedState {
    return EMPTY;
  }

  readonly fields = (): Readonly<Record<string, unknown>> => this.all();

  readonly peekFields = (): Readonly<Record<string, unknown>> => this.current();

  // `async`, so that a value that cannot be sent rejects like one that the server refuses.
  readonly set = async (fields: Readonly<Record<string, unknown>>): Promise<void> => {
    if (typeof fields !== 'object' || !fields || Array.isArray(fields)) throw invalid('set: the fields must be an object');
    const encoded = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) => {
      checkKey(name, 'the name of a field');
      return [name, encode(value), value === null] as const;
    });
    if (encoded.length === 0) return;
    if (this.#merge === undefined) {
      this.#merge = new Map();
      this.#merged = Promise.resolve().then(() => this.#send());
    }
    for (const [name, bytes, isGone] of encoded) {
      this.#merge.set(name, bytes);
      if (isGone) this.#mine.delete(name);
      else if (this.#hasPresence) this.#mine.add(name);
    }
    await this.#merged;
  };

  readonly delete = (field: string): Promise<void> => this.set({ [field]: null });

  protected assemble(rows: readonly (readonly [string, unknown])[]): Readonly<Record<string, unknown>> {
    // `fromEntries` makes a property of `__proto__` too.
    return Object.fromEntries(rows);
  }

  protected override leave(): void {
    // Whoever looks no more is not present any more.
    const mine = Object.fromEntries([...this.#mine].map((name) => [name, null]));
    this.set(mine).catch(() => {});
    super.leave();
  }

  async #send(): Promise<void> {
    const fields = this.#merge!;
    this.#merge = undefined;
    await this.runtime.write(list([encode(Write.Merge), encode(this.id), map(fields)]));
  }
}
