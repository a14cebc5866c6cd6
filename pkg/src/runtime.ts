// One core and what JavaScript keeps for it: the slots, the open writes, and the queue of callbacks.
//
// Every call into the core ends in `settle()`: it reads the change list, lets the slots take their changes, shows them,
// and only then runs what users wrote. Users' code may call anything here; what it causes is dealt with before the
// outermost call returns.

import { batch } from '@preact/signals-core';
import { Ask, Change, type Core, Drained, type Link, type Loaded, NO_CELL, NoGate, type Target, Text, TimerWord } from './core.js';
import { type Environment, page } from './environment.js';
import { badKey, closed, gateFault, refusal, textOf, TidewireError, tooMany, unanswered } from './errors.js';
import { core as loadedCore } from './init.js';
import { type LinkHost, Links } from './link.js';
import { Memory } from './memory.js';
import { making } from './patterns.js';
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
  core!: Core;
  memory!: Memory;
  maker!: Maker;
  outputs = new Outputs();
  loaded: Loaded;
  /** Counts the cores that this has lived in. */
  generation = 0;
  readonly #token: string | undefined;
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
  #reading = false;
  #judging = false;
  #deferred: (() => unknown)[] = [];
  #running = false;
  #due: Slot[] = [];
  /** The change list under way. */
  #words: number[] = [];
  #queue: (() => void)[] = [];

  constructor(token?: string, environment: Environment = page, loaded: Loaded = loadedCore()) {
    this.#token = token;
    this.#environment = environment;
    this.loaded = loaded;
    this.#begin();
    this.#leave = enlist(this);
  }

  #begin(): void {
    const [a, b, c, d] = new Uint32Array(this.#environment.randomBytes(16).slice().buffer) as unknown as [number, number, number, number];
    this.core = new this.loaded.Core(a, b, c, d, this.#environment.now());
    this.memory = new Memory(this.core, this.loaded.memory);
    this.maker = new Maker(this.core, this.memory);
  }

  save(): void {
    for (const handler of this.handlers()) handler.save();
  }

  revive(loaded: Loaded): void {
    this.loaded = loaded;
    this.#begin();
    this.outputs = new Outputs();
    this.generation++;
    this.#epochs.clear();
    this.#versions.clear();
    this.#gates = new WeakMap();
    this.#forgotten = undefined;
    this.#expected = [];
    this.#deferred = [];
    this.#reading = false;
    this.#environment.clearTimeout(this.#timer);
    this.#abandon('the core failed before the write was acknowledged; it may have been done');
    const handlers = [...this.handlers()];
    this.#handlers.length = this.#numbers.length = 0;
    for (const handler of handlers) handler.revive();
    if (this.#links === undefined) return;
    this.#links.end();
    this.#start();
    this.#link?.take(Change.Link, 0, 0, 0);
    if (this.#link) this.due(this.#link);
  }

  /** Starts the session, over links that `dial` opens, to so many addresses in turn; with `fetch`, each after a token was asked for. */
  open(dial: () => Link, addresses: number, fetch?: (link: number, reason: number) => void): void {
    this.#links = new Links(this, dial, addresses, fetch);
    this.input(() => this.#start());
  }

  #start(): void {
    const { asksForTokens, addresses } = this.#links!;
    this.core.ask(Ask.Open, asksForTokens, this.memory.put(this.#token ?? ''), addresses);
  }

  receive(link: number, frame: ArrayBuffer): void {
    this.input(() => this.core.frame(link, this.memory.put(new Uint8Array(frame))));
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
      this.input(() => this.core.ask(Ask.Release, lost));
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

  /** The slot of a new subscription, to two names at most; 0 where one is over its limit. */
  subscribe(target: Target, key: string, other: string, gate: number): number {
    const middle = this.memory.put(key);
    return this.core.ask(Ask.Subscribe, target, middle, this.memory.put(other, middle), gate);
  }

  /** Starts a write, an encoded operation, and settles as the authority settles it. A notification's outcome is its trace. */
  write(operation: Uint8Array): Promise<unknown> {
    return this.#ask(this.#writes, () => this.core.write(this.memory.put(operation)), 'the value takes more than 256 KiB: split it into several records');
  }

  /** Asks an encoded question, and resolves with the answer; `undefined` says that there is no such value. */
  query(question: Uint8Array): Promise<unknown> {
    return this.#ask(this.#queries, () => this.core.ask(Ask.Query, this.memory.put(question)), 'the question takes more than 256 KiB');
  }

  #ask(pending: Map<number, Pending>, start: () => number, tooLarge: string): Promise<unknown> {
    return new Promise<unknown>((resolve, reject) => {
      this.input(() => {
        if (this.#isRetired) {
          reject(closed());
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
    return interned(this.#epochs, text, () => this.core.ask(Ask.Intern, false, this.memory.put(text)));
  }

  internVersion(text: string): number {
    return interned(this.#versions, text, () => this.core.ask(Ask.Intern, true, this.memory.put(text)));
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
      if (number >= 0) this.input(() => this.core.ask(Ask.Adopt, slot, number));
    });
  }

  #compile({ compiled }: Gate): number {
    if (compiled === undefined) return NoGate.Host;
    const number = making(compiled.regex, () => this.core.ask(Ask.Gate, this.memory.put(compiled.bytes), compiled.isLibrary));
    if (number >= 0) return number;
    const text = this.memory.text(Text.Refusal) ?? '';
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
      return this.core.ask(Ask.Check, this.gate(gate), this.memory.put(encode(value)))
        ? { ok: true, value }
        : { ok: false, error: gateFault(this.memory.text(Text.Refusal) ?? '') };
    } catch (error) {
      const message = textOf(error);
      return { ok: false, error: new TidewireError('gate_failed', message, { cause: error }) };
    }
  }

  /**
   * Hands an input to the core now, or after the gate that is running. `run` returns `true` if it knows that nothing came
   * of it but what it told `due`; where `isTimed` is false, it says what time it is itself if the core needs that.
   */
  input(run: () => unknown, isTimed = true): void {
    if (this.#judging) {
      this.#deferred.push(run);
      return;
    }
    let isKnown: unknown;
    try {
      if (isTimed) this.tick();
      isKnown = run();
    } catch (error) {
      if (!recover(error, this.loaded)) throw error;
    }
    this.settle(isKnown === true && this.#deferred.length === 0);
  }

  /** Tells the core what time it is, before what is no input of its own. */
  tick(): void {
    this.core.tick(this.#environment.now());
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
      this.memory.look();
      const view = this.memory.words;
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

  #setTimer(word: number): void {
    this.#environment.clearTimeout(this.#timer);
    if (word >= TimerWord.Set) this.#timer = this.#environment.setTimeout(() => this.input(() => this.core.ask(Ask.Timeout)), word - TimerWord.Set);
  }

  #take(kind: Change, slot: number, a: number, b: number, c: number): void {
    if (kind >= Change.Fetch) {
      this.#links?.take(kind, slot, a, () => {
        this.memory.look();
        return this.memory.bytes.subarray(a, a + b);
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
    const text = this.memory.text(Text.Settlement, request);
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
