// One core and what JavaScript keeps for it: the slots, the open writes, and the queue of callbacks.
//
// Every call into the core ends in `settle()`: it reads the change list, lets the slots take their changes, shows them,
// and only then runs what users wrote. Users' code may call anything here; what it causes is dealt with before the
// outermost call returns.

import { batch } from '@preact/signals-core';
import { type Core, Change, type Loaded, Text, Write } from './core.js';
import { badKey, refusal, TidewireError, tooMany } from './errors.js';
import { core as loadedCore } from './init.js';
import type { Gate, Verdict } from './schema.js';
import { decode } from './value/decode.js';

/** What stands behind a slot of the core. */
export interface Slot {
  /** Whether it is among those to be shown. The runtime's own mark. */
  isDue: boolean;
  /** Takes a change. Runs no code of users but gates. */
  take(kind: Change, a: number, b: number): void;
  /** Shows what was taken: sets cells, queues callbacks. */
  show(): void;
  /** An exception of a reader of this slot's cells. */
  raise(error: unknown): void;
}

/** What gates made of values, by ticket, until the core says that their cells are forgotten. */
class Outputs {
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

interface Pending {
  resolve(): void;
  reject(error: TidewireError): void;
}

export class Runtime {
  readonly core: Core;
  readonly outputs = new Outputs();
  readonly #memory: WebAssembly.Memory;
  readonly #slots = new Map<number, Slot>();
  readonly #writes = new Map<number, Pending>();
  readonly #self: { runtime: Runtime | undefined } = { runtime: this };
  readonly #epochs = new Map<string, number>();
  readonly #versions = new Map<string, number>();
  #link: Slot | undefined;
  #reading = false;
  #judging = false;
  #deferred: (() => void)[] = [];
  #running = false;
  #due: Slot[] = [];
  /** The change list under way, and a view of the core's memory that is renewed when the memory moves. */
  #words: number[] = [];
  #view = new Uint32Array(0);
  #queue: (() => void)[] = [];

  constructor(token?: string, loaded: Loaded = loadedCore()) {
    this.#memory = loaded.memory;
    // The core keeps this function alive, and with it all it refers to, until `retire` cuts the tie.
    const self = this.#self;
    this.core = new loaded.Core(crypto.getRandomValues(new Uint8Array(16)), () => self.runtime?.settle(), token);
  }

  /** Tells `handler` whenever the state of the link changed. */
  watchLink(handler: Slot): void {
    this.#link = handler;
  }

  attach(slot: number, handler: Slot): void {
    this.#slots.set(slot, handler);
  }

  detach(slot: number, handler: Slot): void {
    if (this.#slots.get(slot) === handler) this.#slots.delete(slot);
  }

  /** The value in `cell`, decoded; `undefined` once the core has let go of it, which the next change list will tell. */
  decode(cell: number): unknown {
    const length = this.core.cellLen(cell);
    return length === 0 ? undefined : decode(this.#memory.buffer, this.core.cellPtr(cell), length);
  }

  /** The floats that the core wrote at `address`. Read before the next call into the core. */
  facts(address: number): Float64Array {
    return new Float64Array(this.#memory.buffer, address);
  }

  /** Starts a write, and settles as the authority settles it. */
  write(kind: Write, datastore: string, key: string, value: Uint8Array = new Uint8Array()): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.input(() => {
        if (this.#self.runtime === undefined) {
          reject(new TidewireError('closed', 'the client is closed'));
          return;
        }
        const request = this.core.write(kind, datastore, key, value);
        if (request > 0) this.#writes.set(request, { resolve, reject });
        else if (request === -1) reject(badKey());
        else if (request === -3) reject(tooMany());
        else reject(new TidewireError('limit_exceeded', 'the value takes more than 256 KiB: split it into several records'));
      });
    });
  }

  /** Ends the writes that the core will say nothing more about, and lets go of this side. What is shown stays. */
  retire(): void {
    this.#self.runtime = undefined;
    for (const write of this.#writes.values()) {
      write.reject(refusal(65535, 'the client was closed before the write was acknowledged; it may have been done'));
    }
    this.#writes.clear();
  }

  internEpoch(text: string): number {
    return interned(this.#epochs, text, () => this.core.intern(false, text));
  }

  internVersion(text: string): number {
    return interned(this.#versions, text, () => this.core.intern(true, text));
  }

  /** Runs a gate. What it brings in meanwhile waits until its verdict is told. */
  judge(gate: Gate, value: unknown): Verdict {
    const outer = this.#judging;
    this.#judging = true;
    try {
      return gate(value);
    } finally {
      this.#judging = outer;
    }
  }

  /** Hands an input to the core now, or after the gate that is running. */
  input(run: () => void): void {
    if (this.#judging) {
      this.#deferred.push(run);
      return;
    }
    run();
    this.settle();
  }

  /** Runs `callback` when all present changes are shown. It must not throw. */
  enqueue(callback: () => void): void {
    this.#queue.push(callback);
  }

  /** Brings everything up to what the core knows. */
  settle(): void {
    // A gate that calls back in: the loop below goes on until nothing is left.
    if (this.#reading || this.#judging) return;
    this.#reading = true;
    try {
      this.#read();
      for (let run = this.#deferred.shift(); run !== undefined; run = this.#deferred.shift()) {
        run();
        this.#read();
      }
    } finally {
      this.#reading = false;
    }
    // Called from a callback or an effect: the outermost call runs what this one added.
    const outermost = !this.#running;
    this.#running = true;
    try {
      this.#show();
      if (outermost) for (let i = 0; i < this.#queue.length; i++) this.#queue[i]!();
    } finally {
      if (outermost) {
        this.#queue = [];
        this.#running = false;
      }
    }
  }

  #read(): void {
    for (let count = this.core.drain(); count > 0; count = this.core.drain()) {
      // A copy: taking a change calls into the core, which may move its memory. A list is never read while another is.
      const words = this.#words;
      const { buffer } = this.#memory;
      if (this.#view.buffer !== buffer) this.#view = new Uint32Array(buffer);
      const from = this.core.changesPtr() / 4;
      const length = count * 4;
      for (let i = 0; i < length; i++) words[i] = this.#view[from + i]!;
      for (let i = 0; i < length; i += 4) this.#take(words[i]!, words[i + 1]!, words[i + 2]!, words[i + 3]!);
    }
  }

  #take(kind: Change, slot: number, a: number, b: number): void {
    if (kind === Change.Settled) {
      this.#settled(slot, a);
      return;
    }
    if (kind === Change.Freed) {
      this.outputs.forget(a);
      return;
    }
    const taker = kind === Change.Link ? this.#link : this.#slots.get(slot);
    if (taker === undefined) return;
    taker.take(kind, a, b);
    if (taker.isDue) return;
    taker.isDue = true;
    this.#due.push(taker);
  }

  #settled(request: number, code: number): void {
    const write = this.#writes.get(request);
    this.#writes.delete(request);
    if (write === undefined) return;
    if (code === 0) write.resolve();
    else write.reject(refusal(code, this.core.text(Text.Settlement, request) ?? ''));
  }

  #show(): void {
    if (this.#due.length === 0) return;
    const due = this.#due;
    this.#due = [];
    try {
      batch(() => {
        for (const slot of due) {
          slot.isDue = false;
          slot.show();
        }
      });
    } catch (error) {
      // Signals run every effect and throw the first failure: it cannot be told whose value the effect read.
      for (const slot of due) slot.raise(error);
    }
  }
}

/** The core's number for `text`, asked for once. The core keeps its own list: this one may be forgotten at any time. */
function interned(known: Map<string, number>, text: string, ask: () => number): number {
  let number = known.get(text);
  if (number === undefined) {
    if (known.size >= 256) known.clear();
    known.set(text, (number = ask()));
  }
  return number;
}

/** Says an error that nobody listens for, without stopping anything. */
export function report(error: unknown): void {
  if (typeof reportError === 'function') reportError(error);
  else console.error(error);
}

let shared: Runtime | undefined;

/** The runtime of all replicas over transports of their own. */
export function sharedRuntime(): Runtime {
  return (shared ??= new Runtime());
}

/** The error that wraps what a callback threw. */
export function failure(cause: unknown): TidewireError {
  return new TidewireError('subscriber_failed', `a subscriber threw: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
