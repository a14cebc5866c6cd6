/// <reference lib="esnext.disposable" preserve="true" />
// What every replica has, whatever feeds it: meta, counters, observers, events and its end.

import { Ask, Change, type Core, MetaFact, STATS, Text } from './core.js';
import { type CreateCell, Lazy, signalCell } from './cell.js';
import { checkListener, denied, gateFault, TidewireError } from './errors.js';
import { failure, report, type Runtime, type Slot } from './runtime.js';
import type { Gate, Verdict } from './schema.js';
import { type DehydratedState, EMPTY } from './state.js';
import { type Part, type PartAt, type Path, walk, type Words, wordsOf } from './value/path.js';

/** A place in a history. */
export interface Position {
  /** The history; `null` where the authority names none. */
  readonly epoch: string | null;
  readonly sequence: number;
}

/**
 * How current a replica is.
 *
 * `ok`: nothing is missing. `stale`: no value yet, or recovery failed or is impossible. `skew`: the last value did not
 * pass the gate or is of another schema version. `refetching`: a recovery is under way.
 */
export type ReplicaStatus = 'ok' | 'stale' | 'skew' | 'refetching';

/** Where a replica stands. */
export interface ReplicaMeta {
  /** The schema version of the shown value. */
  readonly schemaVersion: string | null;
  /** The sequence of the shown value; -1 before the first. */
  readonly sequence: number;
  readonly status: ReplicaStatus;
  /** The history of the shown value. */
  readonly epoch: string | null;
  /** The sequence up to which the order is settled; -1 before. It may be ahead of `sequence`. */
  readonly cursor: number;
  /** Why the status is not `ok`, where an error is the reason. */
  readonly error: TidewireError | null;
}

/** Counters of what happened to a replica. The object is live. */
export type ReplicaStats = { readonly [name in (typeof STATS)[number]]: number };

/** The events of a replica. */
export interface ReplicaEvents {
  /** A subscriber threw, or the server denied the subscription. */
  error: TidewireError;
  /** The authority lost changes that this replica had shown; it now stands here. */
  rollback: Position;
  /** A value was held back because it did not pass the gate. */
  quarantine: TidewireError;
  /** Value or meta changed, at most once per frame. Nothing is made before somebody reads it. */
  change: undefined;
}

/** What replicas and collections have in common. */
export interface Observable<V, Whole = V> {
  /** Where the replica stands (a tracked read). */
  meta(): ReplicaMeta;
  /** Where the replica stands (an untracked read). */
  peekMeta(): ReplicaMeta;
  readonly stats: ReplicaStats;
  /** Calls `listener` with the value now and after every change. The returned function ends it. */
  subscribe(listener: (value: V) => void): () => void;
  /**
   * Calls `listener` with a part of the value now, and whenever that part changed. `part` is the way to it, or a function
   * that picks it. The returned function ends it.
   *
   * At the end of a path only that part is made, and what did not change is the same object. What a function returns is
   * compared by `Object.is`. A path into a collection begins with the key of a record.
   */
  select<const P extends Path>(part: P, listener: (part: PartAt<Whole, P> | undefined) => void): () => void;
  select<T>(part: (value: V) => T, listener: (part: T) => void): () => void;
  /** Calls `listener` at every such event. The returned function ends it. */
  on<E extends keyof ReplicaEvents>(event: E, listener: (detail: ReplicaEvents[E]) => void): () => void;
  /** Asks the authority anew, and resolves when that is done. */
  refresh(): Promise<void>;
  /** Resolves when there is a value. */
  ready(): Promise<void>;
  /** Resolves when no refetch is in flight. */
  whenIdle(): Promise<void>;
  /**
   * What is shown and its position, as plain JSON: `client.hydrate` takes it elsewhere. Empty before the first value, and
   * after `dispose`.
   *
   * @throws TidewireError `unencodable` for a value that JSON cannot say, which an own transport may bring.
   */
  dehydrate(): DehydratedState;
  /** Ends it; what was read before stays. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** A read-only copy of one key, kept current. `undefined` before the first value and after a deletion. */
export interface Replica<T> extends Observable<T | undefined, T> {
  /** The value (a tracked read). */
  get(): T | undefined;
  /** The value (an untracked read). */
  peek(): T | undefined;
}

/** Where older engines lack the symbol, `using` is compiled to this one. */
const DISPOSE: typeof Symbol.dispose = Symbol.dispose ?? (Symbol.for('Symbol.dispose') as typeof Symbol.dispose);

const STATUS: readonly ReplicaStatus[] = ['ok', 'stale', 'skew', 'refetching'];

/** A duplicate that is ignored changes the counters alone. */
function isSameMeta(one: ReplicaMeta, other: ReplicaMeta): boolean {
  return (Object.keys(one) as (keyof ReplicaMeta)[]).every((name) => one[name] === other[name]);
}

const READ = Symbol('read');

// The counters are read from the core when somebody looks: as own properties, so that copying and comparing see them.
const COUNTERS: PropertyDescriptorMap = Object.fromEntries(
  STATS.map((name, which) => [name, {
    enumerable: true,
    get(this: { [READ]: (which: number) => number }) { return this[READ](which); },
  }]),
);

type Listeners = { [E in keyof ReplicaEvents]?: Set<(detail: ReplicaEvents[E]) => void> };

/** What one caller of `select` is told about. */
interface Selection {
  /** The value has changed. */
  update(): void;
  end(): void;
}

interface Waiter {
  readonly due: () => boolean;
  readonly resolve: () => void;
  readonly reject: ((error: TidewireError) => void) | undefined;
}

/**
 * Makes methods that may be passed around without their object: each is bound when it is first taken. As bound fields they
 * would be most of the memory of a replica.
 */
export function bindOnUse(prototype: object, names: readonly string[]): void {
  for (const name of names) {
    const method = Object.getOwnPropertyDescriptor(prototype, name)!.value as (...args: unknown[]) => unknown;
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: object): unknown {
        const value = method.bind(this);
        Object.defineProperty(this, name, { value, configurable: true, writable: true });
        return value;
      },
    });
  }
}

/** What replicas have in common that are made alike. */
interface Home {
  readonly runtime: Runtime;
  readonly gate: Gate | undefined;
  readonly createCell: CreateCell;
}

const homes = new WeakMap<Runtime, Home>();

function homeOf(runtime: Runtime, gate: Gate | undefined, createCell: CreateCell): Home {
  let home = homes.get(runtime);
  if (home?.gate !== gate || home?.createCell !== createCell) homes.set(runtime, (home = { runtime, gate, createCell }));
  return home;
}

/** What few replicas ever need. */
class Aside<V> {
  error: TidewireError | null = null;
  meta: Lazy<ReplicaMeta> | undefined;
  stats: ReplicaStats | undefined;
  listeners: Listeners | undefined;
  subscribers: Set<(value: V) => void> | undefined;
  selections: Set<Selection> | undefined;
  waiters: Waiter[] | undefined;
}

/** @internal What is yes or no about a replica. Fresh: the value that was made last is the one to show. */
export const enum Mark { Disposed = 1, ValueChanged = 2, MetaChanged = 4, Due = 8, Fresh = 16, Expected = 32, Eager = 64 }

/** The common part. There may be a hundred thousand of them, so a field is there only if most need it most of the time. */
export abstract class BaseReplica<V> implements Observable<V, unknown>, Slot {
  readonly #home: Home;
  #marks: number = Mark.Fresh;
  #aside: Aside<V> | undefined;

  static {
    bindOnUse(this.prototype, ['meta', 'peekMeta', 'subscribe', 'select', 'on', 'refresh', 'ready', 'whenIdle', 'dehydrate', 'dispose']);
  }

  protected constructor(runtime: Runtime, protected slot: number, gate: Gate | undefined, createCell: CreateCell = signalCell) {
    this.#home = homeOf(runtime, gate, createCell);
    this.attach();
  }

  protected get runtime(): Runtime {
    return this.#home.runtime;
  }

  protected get gate(): Gate | undefined {
    return this.#home.gate;
  }

  protected get createCell(): CreateCell {
    return this.#home.createCell;
  }

  protected get core(): Core {
    return this.#home.runtime.core;
  }

  protected get disposed(): boolean {
    return this.has(Mark.Disposed);
  }

  get isDue(): boolean {
    return this.has(Mark.Due);
  }

  set isDue(is: boolean) {
    this.mark(Mark.Due, is);
  }

  /** @internal */
  get isExpected(): boolean {
    return this.has(Mark.Expected);
  }

  set isExpected(is: boolean) {
    this.mark(Mark.Expected, is);
  }

  protected has(mark: Mark): boolean {
    return (this.#marks & mark) !== 0;
  }

  protected mark(mark: Mark, is: boolean): void {
    this.#marks = is ? this.#marks | mark : this.#marks & ~mark;
  }

  /** The value has changed since it was last shown. */
  protected valueDue(): void {
    this.#marks |= Mark.ValueChanged;
  }

  #seldom(): Aside<V> {
    return (this.#aside ??= new Aside());
  }

  /** Takes a slot in a core that knows nothing of this replica. */
  protected abstract enter(): number;

  abstract save(): void;

  revive(): void {
    this.slot = this.enter();
    this.attach();
    this.runtime.adopt(this.slot, this.gate);
    this.metaDue();
    this.runtime.due(this);
  }

  /** Has the runtime tell this replica what happens to its slot. */
  protected attach(): void {
    this.runtime.attach(this.slot, this);
  }

  /** Without readers of meta only the value's cell is set. */
  get isSingle(): boolean {
    return this.#aside?.meta === undefined;
  }

  /** @internal */
  get isDisposed(): boolean {
    return this.has(Mark.Disposed);
  }

  get stats(): ReplicaStats {
    return (this.#seldom().stats ??= Object.defineProperties({}, {
      ...COUNTERS,
      [READ]: { value: (which: number) => this.fact(MetaFact.Stats + which), writable: true },
    }) as ReplicaStats);
  }

  /** The value for subscribers. */
  protected abstract current(): V;
  /** Takes a change that is about values. */
  protected abstract takeValue(kind: Change, a: number, b: number, c: number): void;
  /** Shows the changed value. */
  protected abstract showValue(): void;
  /** A part of the value. */
  protected part(words: Words): Part {
    return { read: () => walk(this.current(), words), end() {} };
  }

  /** What is shown at a position, for another client. */
  protected abstract shownAt(sequence: number): DehydratedState;

  /** Leaves the core's slot. */
  protected abstract leave(): void;

  protected epoch(): string | null {
    return this.runtime.memory.text(Text.Epoch, this.slot) ?? null;
  }

  protected schemaVersion(): string | null {
    return this.runtime.memory.text(Text.SchemaVersion, this.slot) ?? null;
  }

  protected fact(which: number): number {
    return this.runtime.memory.facts(this.core.ask(Ask.Meta, this.slot))[which]!;
  }

  meta(): ReplicaMeta {
    return this.#lazyMeta().get();
  }

  peekMeta(): ReplicaMeta {
    return this.#lazyMeta().peek();
  }

  subscribe(listener: (value: V) => void): () => void {
    checkListener(listener);
    // An own function per call, so that one listener can be subscribed twice.
    const subscriber = (value: V): void => listener(value);
    (this.#seldom().subscribers ??= new Set()).add(subscriber);
    this.#call(subscriber, this.current());
    return () => void this.#aside?.subscribers?.delete(subscriber);
  }

  select(part: Path | ((value: V) => unknown), listener: (part: never) => void): () => void {
    checkListener(listener);
    const selection = typeof part === 'function'
      ? this.#selectBy(part, listener as (part: unknown) => void)
      : this.#selectAt(this.part(wordsOf(part)), listener as (part: unknown) => void);
    return () => {
      if (this.#aside?.selections?.delete(selection)) selection.end();
    };
  }

  on<E extends keyof ReplicaEvents>(event: E, listener: (detail: ReplicaEvents[E]) => void): () => void {
    const own = (detail: ReplicaEvents[E]): void => listener(detail);
    const all = (this.#seldom().listeners ??= {});
    const listeners = ((all[event] as Set<typeof own> | undefined) ??= new Set() as never) as Set<typeof own>;
    listeners.add(own);
    return () => void listeners.delete(own);
  }

  refresh(): Promise<void> {
    if (!this.disposed) this.runtime.input(() => this.core.ask(Ask.Refresh, this.slot));
    return this.whenIdle();
  }

  ready(): Promise<void> {
    return this.#wait(
      () => this.fact(MetaFact.IsReady) !== 0,
      () => new TidewireError('disposed', 'the replica was disposed before it had a value'),
    );
  }

  whenIdle(): Promise<void> {
    return this.#wait(() => this.fact(MetaFact.IsIdle) !== 0);
  }

  dehydrate(): DehydratedState {
    const sequence = this.disposed ? -1 : this.fact(MetaFact.Sequence);
    return sequence < 0 ? EMPTY : this.shownAt(sequence);
  }

  dispose(): void {
    if (this.disposed) return;
    const meta = this.peekMeta();
    const counts = STATS.map((_, which) => this.fact(MetaFact.Stats + which));
    (this.stats as unknown as { [READ]: (which: number) => number })[READ] = (which) => counts[which]!;
    this.mark(Mark.Disposed, true);
    const aside = this.#seldom();
    for (const selection of aside.selections ?? []) selection.end();
    aside.selections = undefined;
    this.leave();
    this.runtime.settle();
    this.runtime.detach(this.slot, this);
    this.#lazyMeta().keep(meta);
    aside.subscribers = undefined;
    const waiters = aside.waiters ?? [];
    aside.waiters = undefined;
    for (const { resolve, reject } of waiters) {
      if (reject) reject(new TidewireError('disposed', 'the replica was disposed before it had a value'));
      else resolve();
    }
  }

  [DISPOSE](): void {
    this.dispose();
  }

  // Slot

  take(kind: Change, a: number, b: number, c: number): void {
    if (kind === Change.Event) this.#event(a, b);
    else if (kind === Change.Meta) this.metaDue();
    else this.takeValue(kind, a, b, c);
  }

  show(): void {
    if (this.disposed) return;
    const marks = this.#marks;
    this.#marks = marks & ~(Mark.ValueChanged | Mark.MetaChanged);
    const isValue = (marks & Mark.ValueChanged) !== 0;
    if (isValue) this.showValue();
    const aside = this.#aside;
    if (aside === undefined) return;
    if (isValue) {
      if (aside.subscribers?.size) {
        const value = this.current();
        this.runtime.enqueue(() => {
          for (const subscriber of [...(aside.subscribers ?? [])]) this.#call(subscriber, value);
        });
      }
      if (aside.selections?.size) for (const selection of aside.selections) selection.update();
    }
    if ((marks & Mark.MetaChanged) !== 0) {
      aside.meta?.announce();
      if (aside.listeners?.change?.size) this.emit('change', undefined);
    }
    if (aside.waiters?.length) {
      aside.waiters = aside.waiters.filter(({ due, resolve }) => {
        if (due()) resolve();
        return !due();
      });
    }
  }

  raise(error: unknown): void {
    this.emit('error', failure(error));
  }

  protected metaDue(): void {
    this.#marks |= Mark.MetaChanged;
    this.#aside?.meta?.expire();
  }

  /** Runs the gate over `value`, and remembers why it failed. */
  protected judge(value: unknown): Verdict {
    if (this.gate === undefined) return { ok: true, value };
    const verdict = this.runtime.judge(this.gate, value);
    if (!verdict.ok) this.refused(verdict.error);
    return verdict;
  }

  /** Answers the core's question about `cell`, and keeps what the gate made of it. */
  protected judgeCell(cell: number, ticket: number): void {
    const verdict = this.judge(this.runtime.maker.once(cell));
    if (verdict.ok && this.gate !== undefined) this.runtime.outputs.keep(cell, ticket, verdict.value);
    this.core.judged(ticket, verdict.ok);
  }

  protected refused(error: TidewireError): void {
    this.#seldom().error = error;
    this.metaDue();
  }

  protected emit<E extends keyof ReplicaEvents>(event: E, detail: ReplicaEvents[E]): void {
    this.runtime.enqueue(() => {
      const listeners = this.#aside?.listeners?.[event];
      if (event === 'error' && !listeners?.size) report(detail);
      for (const listener of [...(listeners ?? [])]) {
        try {
          listener(detail as never);
        } catch (error) {
          report(error);
        }
      }
    });
  }

  #call(subscriber: (value: V) => void, value: V): void {
    // It may have left while those before it were called.
    if (this.#aside?.subscribers?.has(subscriber)) this.#guard(() => subscriber(value));
  }

  /** Runs code of users: what it throws becomes an event. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.raise(error);
      this.runtime.settle();
    }
  }

  #selectAt(part: Part, listener: (part: unknown) => void): Selection {
    let shown = part.read();
    const tell = (next: unknown): void => {
      if (this.#aside?.selections?.has(selection)) this.#guard(() => listener(next));
    };
    const selection: Selection = {
      update: () => {
        const next = part.read();
        if (Object.is(next, shown)) return;
        shown = next;
        this.runtime.enqueue(() => tell(next));
      },
      end: () => part.end(),
    };
    (this.#seldom().selections ??= new Set()).add(selection);
    tell(shown);
    return selection;
  }

  #selectBy(pick: (value: V) => unknown, listener: (part: unknown) => void): Selection {
    let shown: unknown;
    const tell = (value: V, isFirst: boolean): void => {
      if (!this.#aside?.selections?.has(selection)) return;
      this.#guard(() => {
        const next = pick(value);
        if (!isFirst && Object.is(next, shown)) return;
        shown = next;
        listener(next);
      });
    };
    const selection: Selection = {
      update: () => {
        const value = this.current();
        this.runtime.enqueue(() => tell(value, false));
      },
      end() {},
    };
    (this.#seldom().selections ??= new Set()).add(selection);
    tell(this.current(), true);
    return selection;
  }

  #event(kind: number, fault: number): void {
    if (kind === 1) this.emit('rollback', { epoch: this.epoch(), sequence: this.fact(MetaFact.Sequence) });
    else if (kind === 2) {
      const text = fault > 0 ? this.runtime.memory.text(Text.Fault, fault) : undefined;
      if (text !== undefined) this.refused(gateFault(text));
      this.emit('quarantine', this.#aside?.error ?? new TidewireError('gate_failed', 'the value did not pass the schema'));
    } else {
      const { key = '', id = key } = this as { readonly key?: string; readonly id?: string };
      const error = denied(id, this.runtime.memory.text(Text.Denial, this.slot));
      this.refused(error);
      this.emit('error', error);
      const aside = this.#seldom();
      aside.waiters = aside.waiters?.filter(({ reject }) => (reject?.(error), reject === undefined));
    }
  }

  #lazyMeta(): Lazy<ReplicaMeta> {
    return (this.#seldom().meta ??= new Lazy(this.createCell, () => this.#readMeta(), isSameMeta));
  }

  #readMeta(): ReplicaMeta {
    const facts = this.runtime.memory.facts(this.core.ask(Ask.Meta, this.slot));
    const sequence = facts[MetaFact.Sequence]!;
    const cursor = facts[MetaFact.Cursor]!;
    const status = STATUS[facts[MetaFact.Status]!] ?? 'stale';
    const aside = this.#seldom();
    if (status === 'ok') aside.error = null;
    return { schemaVersion: this.schemaVersion(), sequence, status, epoch: this.epoch(), cursor, error: aside.error };
  }

  #wait(due: () => boolean, undone?: () => TidewireError): Promise<void> {
    if (this.disposed) return undone ? Promise.reject(undone()) : Promise.resolve();
    if (due()) return Promise.resolve();
    return new Promise((resolve, reject) => (this.#seldom().waiters ??= []).push({ due, resolve, reject: undone && reject }));
  }
}
