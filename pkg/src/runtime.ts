// One core and what JavaScript keeps for it: the slots, the open writes, and the queue of callbacks.
//
// Every call into the core ends in `settle()`: it reads the change list, lets the slots take their changes, shows them,
// and only then runs what users wrote. Users' code may call anything here; what it causes is dealt with before the
// outermost call returns.

import { batch } from '@preact/signals-core';
import { type Core, Change, Drained, type Link, type Loaded, NO_CELL, NoGate, Text, TimerWord } from './core.js';
import { type Environment, page } from './environment.js';
import { badKey, gateFault, refusal, TidewireError, tooMany, unanswered } from './errors.js';
import { core as loadedCore } from './init.js';
import { type LinkHost, Links } from './link.js';
import { enlist, recover, type Revivable } from './revival.js';
import { explain, type Gate, type Verdict } from './schema.js';
import { encode } from './value/encode.js';
import { type Made, Maker } from './value/tape.js';
import { WeakSlot } from './weak_slot.js';

/** What stands behind a slot of the core. */
export interface Slot {
  /** Whether it is among those to be shown. The runtime's own mark. */
  isDue: boolean;
  /** Whether to show it sets one cell at most. */
  readonly isSingle?: boolean;
  /** Takes a change. Runs no code of users but gates. */
  take(kind: Change, a: number, b: number, c: number): void;
  /** Shows what was taken: sets cells, queues callbacks. */
  show(): void;
  /** An exception of a reader of this slot's cells. */
  raise(error: unknown): void;
  /** The core is gone: takes what is shown out of what was made of its values. */
  save(): void;
  /** Begins anew in another core. */
  revive(): void;
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

/** The words of a change. */
const WORDS = 5;

interface Pending {
  resolve(outcome: unknown): void;
  reject(error: TidewireError): void;
}

/** A value that is made when somebody looks. */
export interface Shown extends Made {
  /** Whether it is among those that are made together. The runtime's own mark. */
  isExpected: boolean;
}

/** Bits of a slot's number that are its place; the others tell who had that place before. */
const PLACE = 0xfffff;

export class Runtime implements LinkHost, Revivable {
  core: Core;
  maker: Maker;
  outputs = new Outputs();
  loaded: Loaded;
  /** Counts the cores that this has lived in. */
  generation = 0;
  #memory: WebAssembly.Memory;
  readonly #token: string | undefined;
  /** What was asked for; the page's own has no clock that the core would be given. */
  readonly #own: Environment | undefined;
  readonly #leave: () => void;
  /** By the place in their number; and the numbers, because a place is used again. */
  readonly #handlers: (Slot | undefined)[] = [];
  readonly #numbers: number[] = [];
  /** Values that were read before they changed, so that somebody will look at them again: all at once, then. */
  #expected: Shown[] = [];
  readonly #writes = new Map<number, Pending>();
  readonly #queries = new Map<number, Pending>();
  readonly #epochs = new Map<string, number>();
  readonly #versions = new Map<string, number>();
  #gates = new WeakMap<Gate, number>();
  #link: Slot | undefined;
  #forgotten: FinalizationRegistry<number> | undefined;
  #links: Links | undefined;
  #isRetired = false;
  #timer: unknown;
  readonly #environment: Environment;
  /** Where frames are written, and how long they may be there. */
  #room = 0;
  #roomBytes = 0;
  #reading = false;
  #judging = false;
  #deferred: (() => boolean | void)[] = [];
  #running = false;
  #due: Slot[] = [];
  /** The change list under way, and a view of the core's memory that is renewed when the memory moves. */
  #words: number[] = [];
  #view = new Uint32Array(0);
  #bytes = new Uint8Array(0);
  #queue: (() => void)[] = [];

  constructor(token?: string, environment?: Environment, loaded: Loaded = loadedCore()) {
    this.#token = token;
    this.#own = environment;
    this.#environment = environment ?? page;
    this.loaded = loaded;
    this.#memory = loaded.memory;
    this.core = new loaded.Core(this.#environment.randomBytes(16), token, environment);
    this.maker = new Maker(this.core, this.#memory);
    this.#leave = enlist(this);
  }

  save(): void {
    for (const handler of this.handlers()) handler.save();
  }

  revive(loaded: Loaded): void {
    this.loaded = loaded;
    this.#memory = loaded.memory;
    this.core = new loaded.Core(this.#environment.randomBytes(16), this.#token, this.#own);
    this.maker = new Maker(this.core, this.#memory);
    this.outputs = new Outputs();
    this.generation++;
    this.#epochs.clear();
    this.#versions.clear();
    this.#gates = new WeakMap();
    this.#forgotten = undefined;
    this.#expected = [];
    this.#deferred = [];
    this.#view = new Uint32Array(0);
    this.#bytes = new Uint8Array(0);
    this.#room = this.#roomBytes = 0;
    this.#reading = false;
    this.#environment.clearTimeout(this.#timer);
    this.#abandon('the core failed before the write was acknowledged; it may have been done');
    const handlers = [...this.handlers()];
    this.#handlers.length = this.#numbers.length = 0;
    for (const handler of handlers) handler.revive();
    if (this.#links === undefined) return;
    this.#links.end();
    this.core.open(this.#links.asksForTokens, this.#links.addresses);
    this.#link?.take(Change.Link, 0, 0, 0);
    if (this.#link) this.due(this.#link);
  }

  /** Starts the session, over links that `dial` opens, to so many addresses in turn; with `fetch`, each after a token was asked for. */
  open(dial: () => Link, addresses: number, fetch?: (link: number, reason: number) => void): void {
    this.#links = new Links(this, dial, addresses, fetch);
    this.input(() => this.core.open(fetch !== undefined, addresses));
  }

  receive(link: number, frame: ArrayBuffer): void {
    this.input(() => {
      const length = frame.byteLength;
      if (length > this.#roomBytes) {
        this.#room = this.core.room(length);
        this.#roomBytes = length;
      }
      this.#look();
      this.#bytes.set(new Uint8Array(frame), this.#room);
      this.core.frame(link, length);
    });
  }

  /** Tells `handler` whenever the state of the link changed. */
  watchLink(handler: Slot): void {
    this.#link = handler;
  }

  attach(slot: number, handler: Slot): void {
    this.#handlers[slot & PLACE] = handler;
    this.#numbers[slot & PLACE] = slot;
  }

  /** As `attach`, without keeping `handler` alive. When nobody else does, its slot in the core is released. */
  attachWeakly(slot: number, handler: Slot): void {
    this.attach(slot, new WeakSlot(handler));
    this.#forgotten ??= new FinalizationRegistry((lost) => {
      this.input(() => this.core.release(lost));
      if (this.#at(lost) instanceof WeakSlot) this.#handlers[lost & PLACE] = undefined;
    });
    this.#forgotten.register(handler, slot, handler);
  }

  detach(slot: number, handler: Slot): void {
    const present = this.#at(slot);
    if (present !== handler && !(present instanceof WeakSlot && present.isOf(handler))) return;
    this.#handlers[slot & PLACE] = undefined;
    if (present !== handler) this.#forgotten?.unregister(handler);
  }

  /** All that stands behind slots. */
  *handlers(): Iterable<Slot> {
    for (const handler of this.#handlers) if (handler !== undefined) yield handler;
  }

  /** A value that was read has changed. */
  expect(value: Shown): void {
    if (value.isExpected) return;
    value.isExpected = true;
    this.#expected.push(value);
  }

  /** Makes all these values. */
  makeAll(values: readonly Shown[]): void {
    for (const value of values) value.isExpected = false;
    this.maker.make(values);
  }

  /** Makes a value and, if it was expected, all others that are: a frame's changes cost one call, not one each. */
  make(value: Shown): void {
    if (!value.isExpected) {
      this.maker.makeOne(value);
      return;
    }
    if (this.#expected.length === 1) {
      this.#expected.length = 0;
      value.isExpected = false;
      this.maker.makeOne(value);
      return;
    }
    // Some may have been deleted meanwhile.
    const due = this.#expected.filter((each) => each.isExpected);
    this.#expected = [];
    for (const each of due) each.isExpected = false;
    this.maker.make(due);
  }

  /** The floats that the core wrote at `address`. Read before the next call into the core. */
  facts(address: number): Float64Array {
    return new Float64Array(this.#memory.buffer, address);
  }

  /** A copy of the words that the core wrote at `address`, behind their number. */
  words(address: number): Uint32Array {
    const { buffer } = this.#memory;
    const [count] = new Uint32Array(buffer, address, 1) as unknown as [number];
    return new Uint32Array(buffer, address + 4, count).slice();
  }

  /** Starts a write, an encoded operation, and settles as the authority settles it. A notification's outcome is its trace. */
  write(operation: Uint8Array): Promise<unknown> {
    return this.#ask(this.#writes, () => this.core.write(operation), 'the value takes more than 256 KiB: split it into several records');
  }

  /** Asks an encoded question, and resolves with the answer; `undefined` says that there is no such value. */
  query(question: Uint8Array): Promise<unknown> {
    return this.#ask(this.#queries, () => this.core.query(question), 'the question takes more than 256 KiB');
  }

  #ask(pending: Map<number, Pending>, start: () => number, tooLarge: string): Promise<unknown> {
    return new Promise<unknown>((resolve, reject) => {
      this.input(() => {
        if (this.#isRetired) {
          reject(new TidewireError('closed', 'the client is closed'));
          return;
        }
        let number: number;
        try {
          number = start();
        } catch (error) {
          reject(refusal(65535, 'the core failed while it took the write'));
          throw error;
        }
        if (number > 0) pending.set(number, { resolve, reject });
        else if (number === -1) reject(badKey());
        else if (number === -3) reject(tooMany());
        else reject(new TidewireError('limit_exceeded', tooLarge));
      });
    });
  }

  /** Ends the writes that the core will say nothing more about, and lets go of this side. What is shown stays. */
  retire(): void {
    this.#isRetired = true;
    this.#leave();
    this.#abandon('the client was closed before the write was acknowledged; it may have been done');
  }

  #abandon(reason: string): void {
    for (const write of this.#writes.values()) write.reject(refusal(65535, reason));
    this.#writes.clear();
    for (const query of this.#queries.values()) query.reject(unanswered());
    this.#queries.clear();
  }

  /** Whether its client is closed. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  internEpoch(text: string): number {
    return interned(this.#epochs, text, () => this.core.intern(false, text));
  }

  internVersion(text: string): number {
    return interned(this.#versions, text, () => this.core.intern(true, text));
  }

  /**
   * The core's number of `gate`, or what stands for one that is not compiled.
   *
   * @throws TidewireError `unsupported_schema` for a JSON Schema that cannot be compiled, as nothing else could run it.
   */
  gate(gate: Gate | undefined): number {
    if (gate === undefined) return NoGate.Trust;
    let number = this.#gates.get(gate);
    if (number === undefined && gate.loading !== undefined) return NoGate.Host;
    if (number === undefined) this.#gates.set(gate, (number = this.#compile(gate)));
    return number;
  }

  /** Has the core judge the values of `slot` as soon as it can, where it cannot yet. */
  adopt(slot: number, gate: Gate | undefined): void {
    void gate?.loading?.then(() => {
      const number = this.gate(gate);
      if (number >= 0) this.input(() => this.core.adopt(slot, number));
    });
  }

  #compile({ compiled }: Gate): number {
    if (compiled === undefined) return NoGate.Host;
    const number = this.core.gate(compiled.bytes, compiled.isLibrary, compiled.regexes);
    if (number >= 0) return number;
    const text = this.core.text(Text.Unsupported, 0) ?? '';
    const keyword = text.split('\n', 1)[0]!;
    const reason = `the gate does not support "${keyword}" at "${text.slice(keyword.length + 1)}"`;
    if (!compiled.isLibrary) throw new TidewireError('unsupported_schema', `${reason} of this JSON Schema`);
    explain(reason);
    return NoGate.Host;
  }

  /** Runs a gate. What it brings in meanwhile waits until its verdict is told. */
  judge(gate: Gate, value: unknown): Verdict {
    const outer = this.#judging;
    this.#judging = true;
    try {
      return gate.compiled?.isLibrary === false ? this.#check(gate, value) : gate(value);
    } finally {
      this.#judging = outer;
    }
  }

  /** Has the core judge a value that it does not hold. */
  #check(gate: Gate, value: unknown): Verdict {
    try {
      const fault = this.core.check(this.gate(gate), encode(value));
      return fault === undefined ? { ok: true, value } : { ok: false, error: gateFault(fault) };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { ok: false, error: new TidewireError('gate_failed', message, { cause: error }) };
    }
  }

  /**
   * Hands an input to the core now, or after the gate that is running. `run` returns `true` if it knows that nothing came
   * of it but what it told `due`.
   */
  input(run: () => boolean | void): void {
    if (this.#judging) {
      this.#deferred.push(run);
      return;
    }
    let isKnown: boolean | void = undefined;
    try {
      isKnown = run();
    } catch (error) {
      if (!recover(error, this.loaded)) throw error;
    }
    this.settle(isKnown === true && this.#deferred.length === 0);
  }

  /** `slot` is to be shown. */
  due(slot: Slot): void {
    if (slot.isDue) return;
    slot.isDue = true;
    this.#due.push(slot);
  }

  /** Runs `callback` when all present changes are shown. It must not throw. */
  enqueue(callback: () => void): void {
    this.#queue.push(callback);
  }

  /** Brings everything up to what the core knows; `isRead` says that this is known already. */
  settle(isRead = false): void {
    // A gate that calls back in: the loop below goes on until nothing is left.
    if (this.#reading || this.#judging) return;
    if (!isRead) {
      this.#reading = true;
      try {
        this.#read();
        for (let run = this.#deferred.shift(); run !== undefined; run = this.#deferred.shift()) {
          run();
          this.#read();
        }
      } catch (error) {
        if (!recover(error, this.loaded)) throw error;
      } finally {
        this.#reading = false;
      }
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
    let isMore: boolean;
    do {
      isMore = false;
      const drained = this.core.drain() / 4;
      this.#look();
      const view = this.#view;
      const timer = view[drained + Drained.Timer]!;
      if (timer !== TimerWord.Keep) this.#setTimer(timer);
      const length = view[drained + Drained.Count]! * WORDS;
      if (length === 0) return;
      // A copy: taking a change calls into the core, which may move its memory. A list is never read while another is.
      const words = this.#words;
      const from = view[drained + Drained.Words]! / 4;
      for (let i = 0; i < length; i++) words[i] = view[from + i]!;
      for (let i = 0; i < length; i += WORDS) {
        const kind: Change = words[i]!;
        // Only verdicts and what becomes of links tell the core anything.
        if (kind === Change.Judge || kind >= Change.JudgeOwn) isMore = true;
        this.#take(kind, words[i + 1]!, words[i + 2]!, words[i + 3]!, words[i + 4]!);
      }
    } while (isMore);
  }

  /** Renews the views of the core's memory if it has moved. */
  #look(): void {
    // A memory that grows takes what it was away from its views. To ask the memory itself is a call into the engine.
    if (this.#view.length > 0) return;
    const { buffer } = this.#memory;
    this.#view = new Uint32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  #setTimer(word: number): void {
    this.#environment.clearTimeout(this.#timer);
    if (word >= TimerWord.Set) this.#timer = this.#environment.setTimeout(() => this.input(() => this.core.timeout()), word - TimerWord.Set);
  }

  #take(kind: Change, slot: number, a: number, b: number, c: number): void {
    if (kind >= Change.Fetch) {
      this.#links?.take(kind, slot, a, () => {
        this.#look();
        return this.#bytes.subarray(a, a + b);
      });
      return;
    }
    if (kind === Change.Settled) {
      this.#settled(slot, a);
      return;
    }
    if (kind === Change.Answered) {
      this.#answered(slot, a);
      return;
    }
    if (kind === Change.Freed) {
      this.outputs.forget(a);
      return;
    }
    const taker = kind === Change.Link ? this.#link : this.#at(slot);
    if (taker === undefined) return;
    taker.take(kind, a, b, c);
    this.due(taker);
  }

  #at(slot: number): Slot | undefined {
    return this.#numbers[slot & PLACE] === slot ? this.#handlers[slot & PLACE] : undefined;
  }

  #settled(request: number, code: number): void {
    const write = this.#writes.get(request);
    this.#writes.delete(request);
    const text = this.core.text(Text.Settlement, request);
    if (code === 0) write?.resolve(text);
    else write?.reject(refusal(code, text ?? ''));
  }

  #answered(number: number, cell: number): void {
    const query = this.#queries.get(number);
    this.#queries.delete(number);
    if (query === undefined) return;
    if ((cell | 0) === NO_CELL) {
      query.reject(unanswered());
      return;
    }
    // The whole message: kind, number, and then nothing, null and the value, or a code and a text.
    const [, , code, outcome] = this.maker.once(cell) as [number, number, (number | null)?, unknown?];
    if (typeof code === 'number') query.reject(refusal(code, String(outcome ?? '')));
    else query.resolve(outcome);
  }

  #show(): void {
    if (this.#due.length === 0) return;
    const due = this.#due;
    this.#due = [];
    if (due.length === 1 && due[0]!.isSingle === true) {
      due[0]!.isDue = false;
      due[0]!.show();
      return;
    }
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

export { failure, report } from './failure.js';

let shared: Runtime | undefined;

const sharedIn = new WeakMap<Environment, Runtime>();

/** The runtime of all replicas over transports of their own; of those in another environment, one for each. */
export function sharedRuntime(environment?: Environment): Runtime {
  if (environment === undefined) return (shared ??= new Runtime());
  let runtime = sharedIn.get(environment);
  if (runtime === undefined) sharedIn.set(environment, (runtime = new Runtime(undefined, environment)));
  return runtime;
}
