// A replica over a transport of the application's own. Values stay JavaScript objects; only numbers cross to the core.

import { type Cell, type CreateCell, signalCell } from './cell.js';
import { ASK, Ask, Change, CLOCK, INSTALLED, Judged, KEPT, MetaFact, Own, Source } from './core.js';
import { invalid, textOf, TidewireError } from './errors.js';
import { BaseReplica, bindOnUse, type Position, type Replica } from './replica.js';
import { type Runtime, sharedRuntime } from './runtime.js';
import { compileGate, type Gate, type Output, type Schema } from './schema.js';
import { type DehydratedState, objectState } from './state.js';
import type { Envelope, Transport } from './transport/transport.js';
import { toJson } from './value/json.js';

/** What a `refetch` is told. */
export interface RefetchContext {
  /** Aborts when the answer is no longer wanted. */
  readonly signal: AbortSignal;
  /** Where the replica stands; `null` before the first value. */
  readonly position: Position | null;
}

/** Fetches the current snapshot; `null` says that the authority has no value. */
export type Refetch = (context: RefetchContext) => Promise<Envelope | null | undefined> | Envelope | null | undefined;

/** What a replica is made of. */
export interface ClientReplicaOptions<S extends Schema | undefined, T> {
  /** What to sync, such as `user:123`. */
  key: string;
  /** The gate of every inbound value. Left out, values are trusted. */
  schema?: S;
  /** Where changes come from. */
  transport: Pick<Transport, 'subscribe' | 'environment'>;
  /** The value to begin with, for instance from a server-rendered page. */
  seed?: Envelope | undefined;
  /** How to recover from gaps. Left out, there is no recovery and the status becomes `stale`. */
  refetch?: Refetch | undefined;
  /** Where to show the value. Default: a signal. */
  cell?: Cell<T | undefined> | undefined;
  /** How to make the cells of value and meta. Default: signals. */
  createCell?: CreateCell | undefined;
  /** The schema version this code was written for, `"major.minor"`. Values of another major are not applied. */
  schemaVersion?: string | undefined;
  /** What to do about a gap: ask the authority (default), or take the value, which is whole, as the new base. */
  onGap?: 'refetch' | 'commit' | undefined;
  /** Whether failed refetches are tried again, with growing pauses. Default: yes. */
  retry?: boolean | undefined;
}

/**
 * Creates the replica of one key. It listens to the transport until it is disposed, or until nobody holds it any more:
 * neither the application nor the transport.
 */
export function createClientReplica<S extends Schema>(
  options: ClientReplicaOptions<S, Output<S>> & { schema: S },
): Replica<Output<S>>;
export function createClientReplica<T = unknown>(options: ClientReplicaOptions<undefined, T>): Replica<T>;
export function createClientReplica(options: ClientReplicaOptions<Schema | undefined, unknown>): Replica<unknown> {
  const { key, transport, seed, onGap = 'refetch', retry = true } = options;
  if (typeof key !== 'string') throw invalid('createClientReplica: `key` must be a string');
  if (typeof transport?.subscribe !== 'function') throw invalid('createClientReplica: `transport` must have `subscribe`');
  if (onGap !== 'refetch' && onGap !== 'commit') throw invalid("createClientReplica: `onGap` is 'refetch' or 'commit'");
  const gate = compileGate(options.schema);
  const declared = major(options.schemaVersion);
  const runtime = sharedRuntime(transport.environment);
  // Says at once what of a JSON Schema cannot be compiled.
  runtime.gate(gate);
  const flags = (gate === undefined ? 0 : Own.IsGated) + (onGap === 'commit' ? Own.Commits : 0)
    + (options.refetch === undefined ? 0 : Own.HasRefetch) + (retry ? Own.Retries : 0);
  const enter = (): number => (
    runtime.core.ask(Ask.Replica, flags, declared)
  );
  const replica = new ClientReplica(runtime, enter, gate, key, options);
  replica.listen(transport, key);
  if (seed !== undefined) replica.receive(seed, Source.Seed);
  return replica;
}

/** The first number of a schema version; -1 where none is declared. */
function major(version: string | undefined): number {
  if (version === undefined) return -1;
  const found = /^(\d{1,9})\.\d+$/.exec(version)?.[1];
  if (found === undefined) throw invalid('createClientReplica: `schemaVersion` must look like "3.1"');
  return Number(found);
}

/** A value that the core knows by its token only. */
interface Held {
  value: unknown;
  /** As it came, before the gate. */
  readonly raw: unknown;
  readonly version: string | null;
  readonly epoch: string | null;
  readonly sequence: number;
}

class ClientReplica extends BaseReplica<unknown> implements Replica<unknown> {
  readonly #cell: Cell<unknown>;
  readonly #enter: () => number;
  readonly #refetch: Refetch | undefined;
  readonly #held = new Map<number, Held>();
  readonly #attempts = new Map<number, AbortController>();
  #unsubscribe: (() => void) | undefined;
  #tokens = 0;
  #shown: Held | undefined;

  constructor(
    runtime: Runtime, enter: () => number, gate: Gate | undefined, readonly key: string,
    { cell, createCell = signalCell, refetch }: ClientReplicaOptions<Schema | undefined, unknown>,
  ) {
    super(runtime, enter(), gate, createCell);
    this.#enter = enter;
    this.#cell = cell ?? createCell<unknown>(undefined);
    this.#refetch = refetch;
  }

  static {
    bindOnUse(this.prototype, ['get', 'peek']);
  }

  get(): unknown {
    return this.#cell.get();
  }

  peek(): unknown {
    return this.#cell.peek();
  }

  protected override attach(): void {
    this.runtime.attachWeakly(this.slot, this);
  }

  listen(transport: Pick<Transport, 'subscribe'>, key: string): void {
    const observer = this.#refetch && { onLoss: () => void this.refresh() };
    this.#unsubscribe = transport.subscribe(key, (envelope) => this.receive(envelope, Source.Receipt), observer);
  }

  receive(envelope: Envelope, source: Source): void {
    if (this.disposed) return;
    // The next value in order is shown without a look at the clock.
    this.runtime.input(() => this.#offer(source, envelope, envelope?.prev), source !== Source.Receipt);
  }

  protected override epoch(): string | null {
    return this.#shown?.epoch ?? null;
  }

  protected override schemaVersion(): string | null {
    return this.#shown?.version ?? null;
  }

  protected current(): unknown {
    return this.#cell.peek();
  }

  protected shownAt(sequence: number): DehydratedState {
    const raw = this.#shown?.raw;
    const value = raw === undefined ? {} : { value: toJson(raw) };
    return objectState(this.key, { ...value, schema_version: this.schemaVersion(), sequence, epoch: this.epoch() });
  }

  protected takeValue(kind: Change, a: number, b: number): void {
    switch (kind) {
      case Change.Install:
        this.#install(this.#held.get(a));
        this.#held.delete(a);
        break;
      case Change.Discard:
        this.#held.delete(a);
        break;
      case Change.JudgeOwn:
        this.#judge(a, b);
        break;
      case Change.Refetch: {
        const attempt = new AbortController();
        this.#attempts.set(a, attempt);
        this.runtime.enqueue(() => void this.#attempt(a, attempt.signal));
        break;
      }
      case Change.Abort: {
        const attempt = this.#attempts.get(a);
        this.#attempts.delete(a);
        // Its listeners are code of users.
        this.runtime.enqueue(() => attempt?.abort());
        break;
      }
    }
  }

  protected showValue(): void {
    const value = this.#shown?.value;
    try {
      this.#cell.set(value);
    } catch (error) {
      this.raise(error);
    }
  }

  protected enter(): number {
    return this.#enter();
  }

  save(): void {
    this.#held.clear();
    for (const attempt of this.#attempts.values()) attempt.abort();
    this.#attempts.clear();
  }

  override revive(): void {
    super.revive();
    const { core, slot } = this;
    const held = this.#shown;
    if (held !== undefined) {
      const epoch = held.epoch === null ? 0 : this.runtime.internEpoch(String(held.epoch));
      const version = held.version === null ? 0 : this.runtime.internVersion(String(held.version));
      // It has passed the gate, and is shown already.
      if (core.offer(slot, Source.Seed, 0, epoch, held.sequence, -1, version, Judged.Good) === KEPT) this.#held.set(0, held);
    }
    if (this.#refetch) core.ask(Ask.Refresh, slot);
  }

  protected leave(): void {
    this.#unsubscribe?.();
    this.core.ask(Ask.Release, this.slot);
    this.#held.clear();
    for (const attempt of this.#attempts.values()) attempt.abort();
    this.#attempts.clear();
  }

  #install(held: Held | undefined): void {
    this.#shown = held;
    this.valueDue();
    this.metaDue();
  }

  /**
   * Offers the header of `envelope`, answers the ticket, and keeps the value under a token where the core does not say at
   * once what is to be done with it. Returns whether nothing else came of it.
   */
  #offer(attempt: number, envelope: Envelope, prev: unknown): boolean {
    if (this.disposed) return true;
    const { value, schema_version, sequence, epoch }: Partial<Envelope> = envelope ?? {};
    const held: Held = { value, raw: value, version: schema_version ?? null, epoch: epoch ?? null, sequence: wire(sequence) };
    const token = (this.#tokens = (this.#tokens + 1) >>> 0);
    const history = held.epoch === null ? 0 : this.runtime.internEpoch(String(held.epoch));
    const at = held.sequence;
    const after = prev === undefined || prev === null ? -1 : wire(prev);
    const version = held.version === null ? 0 : this.runtime.internVersion(String(held.version));
    let judged = this.gate === undefined ? Judged.Good : Judged.Not;
    let ticket = this.core.offer(this.slot, attempt, token, history, at, after, version, judged);
    if (ticket === ASK) {
      const verdict = this.judge(value);
      if (this.disposed) return false;
      if (verdict.ok) held.value = verdict.value;
      judged = verdict.ok ? Judged.Good : Judged.Bad;
      ticket = this.core.offer(this.slot, attempt, token, history, at, after, version, judged);
    }
    if (ticket === CLOCK) {
      this.runtime.tick();
      ticket = this.core.offer(this.slot, attempt, token, history, at, after, version, judged + Judged.Timed);
    }
    if (ticket === 0) return false;
    if (ticket === KEPT) {
      this.#held.set(token, held);
      return false;
    }
    if (ticket !== INSTALLED) {
      const verdict = this.judge(held.value);
      if (this.disposed) return false;
      if (verdict.ok) held.value = verdict.value;
      if (!this.core.judged(ticket, verdict.ok)) {
        if (verdict.ok) this.#held.set(token, held);
        return false;
      }
    }
    this.#install(held);
    this.runtime.due(this);
    return true;
  }

  /** Judges a value that was held back. */
  #judge(token: number, ticket: number): void {
    const held = this.#held.get(token);
    const verdict = this.judge(held?.value);
    if (held && verdict.ok) held.value = verdict.value;
    else this.#held.delete(token);
    if (!this.disposed && this.core.judged(ticket, verdict.ok)) {
      this.#install(held);
      this.#held.delete(token);
    }
  }

  async #attempt(attempt: number, signal: AbortSignal): Promise<void> {
    const { core, slot } = this;
    const { generation } = this.runtime;
    let answer: () => unknown;
    try {
      const sequence = this.fact(MetaFact.Sequence);
      const position = sequence < 0 ? null : { epoch: this.epoch(), sequence };
      const snapshot = await this.#refetch!({ signal, position });
      answer = snapshot === null || snapshot === undefined
        ? () => core.ask(Ask.Missed, slot, attempt, false)
        : () => this.#offer(attempt, snapshot, undefined);
    } catch (cause) {
      answer = () => {
        this.refused(new TidewireError('unavailable', `the refetch failed: ${textOf(cause)}`, { cause, retryable: true }));
        core.ask(Ask.Missed, slot, attempt, true);
      };
    }
    // The core that asked is gone.
    if (generation !== this.runtime.generation) return;
    // An aborted attempt is answered too: the core knows that it is late.
    this.#attempts.delete(attempt);
    if (!this.disposed) this.runtime.input(answer);
  }
}

/** A number for the core; what is none becomes one that it refuses. */
function wire(sequence: unknown): number {
  return typeof sequence === 'number' ? sequence : typeof sequence === 'bigint' ? Number(sequence) : NaN;
}
