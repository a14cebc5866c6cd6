// The WebAssembly core as the facade sees it: numbers in, numbers out. The Rust side is src/wasm/client.rs.

import type { Environment } from './environment.js';

/** A connection that carries frames: a WebSocket, or one to the server in the page. */
export interface Link {
  send(bytes: Uint8Array): void;
  close(code?: number, reason?: string): void;
  readonly bufferedAmount: number;
  /** As on a WebSocket; a link without it counts as open at once. */
  readonly readyState?: number;
  binaryType?: string;
  onopen: (() => void) | null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
}

/** @internal Kinds of change records. */
export const enum Change {
  Value = 1, Row, Gone, Judge, Meta, Settled, Link, Install, Discard, Refetch, Abort, Event, Freed, JudgeOwn,
  Fed, Answered, Table,
  // What is to be done about links.
  Fetch = 64, Dial, Transmit, Hang,
}

/** @internal What `Core.drain` finds, in words. */
export const enum Drained { Count, Words, Timer }

/** @internal What to do with the timer; other numbers are how long it is to be set, less two. */
export const enum TimerWord { Keep, Clear, Set }

/**
 * @internal A cell that says "no value" or, where a value is built, "none before it". The words of the core say it without a
 * sign, so `| 0` is theirs; a number of 31 bits takes no memory beside the field that it is in.
 */
export const NO_CELL = -1;

/** @internal What `Core.offer` returns for a value that it keeps until a change names it. */
export const KEPT = 0xffffffff;

/** @internal What `Core.offer` returns for a value that is to be shown: no change will name it. */
export const INSTALLED = 0xfffffffe;

/** @internal What `Core.offer` returns for a value that it wants a verdict on: it is to be offered again with one. */
export const ASK = 0xfffffffd;

/** @internal What `Core.offer` is told of the gate. */
export const enum Judged { Not, Good, Bad }

/** @internal What a replica counts, in the order of `Core.meta`. */
export const STATS = [
  'applied', 'ignoredStale', 'gaps', 'parseErrors', 'refetches', 'schemaSkews', 'quarantined', 'buffered', 'retries',
] as const;

/** @internal What `Core.link` finds. */
export const enum LinkFact { State, RetryIn, Code }

/** @internal What `Core.meta` finds; the counters follow. */
export const enum MetaFact { Sequence, Cursor, Status, IsReady, IsIdle, Stats }

/** @internal What `Core.text` tells of the link, a slot, a write, a refused schema or value. */
export const enum Text { LinkReason, Denial, Settlement, Epoch, SchemaVersion, Unsupported, Fault }

/** @internal What `Core.subscribe` takes in the place of a gate. */
export const enum NoGate { Host = -2, Trust }

/** @internal What `Core.subscribe` subscribes to. Datastores and pools of some kind are made where they do not exist. */
export const enum Target { Object, Datastore, Temporary, Permanent, Pool, OpenPool, Presence, Relay, Mailbox, Watch }

/** @internal The operations of the wire, which `Core.write` takes encoded. */
export const enum Write { Put, Delete, Set, Remove, Merge, Notify, Reply, Kv, Relay }

/** @internal The questions of the wire, which `Core.query` takes encoded. */
export const enum Question { Notification, Get, GetAll, Count, CountAll, Groups, Render }

/** @internal The kinds of messages that a `Change.Fed` names. */
export const enum Message { Following = 74, Notification, Reply, Event, Dropped, Relayed = 80 }

/** @internal What `Core.offer` calls an offer that answers no refetch. */
export const enum Source { Seed = -2, Receipt }

/** @internal */
export interface Core {
  open(asksForTokens: boolean, addresses: number): void;
  opened(link: number): void;
  closed(link: number, code: number, reason: string): void;
  room(length: number): number;
  frame(link: number, length: number): void;
  timeout(): void;
  token(link: number, ok: boolean, text: string): void;
  close(): void;
  nudge(): void;
  link(): number;
  text(which: Text, number: number): string | undefined;

  gate(schema: Uint8Array, isLibrary: boolean, regexes: (pattern: string | number, text?: string) => number | boolean): number;
  check(gate: number, value: Uint8Array): string | undefined;
  subscribe(kind: Target, key: string, primary: string, gate: number): number;
  adopt(slot: number, gate: number): void;
  hold(isOn: boolean): void;
  seed(slot: number, epoch: string, sequence: number, version: string, value: Uint8Array, isRows: boolean): void;
  release(slot: number): void;
  refresh(slot: number): void;
  write(operation: Uint8Array): number;
  query(question: Uint8Array): number;
  taken(traces: Uint8Array, ok: boolean): void;

  drain(): number;
  wantsPtr(): number;
  build(count: number): number;
  part(cell: number, base: number, path: Uint8Array): number;
  letGo(cell: number): void;
  cellSequence(cell: number): number;
  rows(slot: number): number;
  row(slot: number, key: string): number;
  judged(ticket: number, ok: boolean): boolean;
  meta(slot: number): number;

  replica(isGated: boolean, schemaMajor: number, onGap: number, hasRefetch: boolean, retry: boolean): number;
  intern(isVersion: boolean, text: string): number;
  offer(
    slot: number, attempt: number, token: number, epoch: number, sequence: number, prev: number, version: number,
    judged: Judged,
  ): number;
  missed(slot: number, attempt: number, hasFailed: boolean): void;
  free(): void;
}

/** @internal */
export type CoreConstructor = new (seed: Uint8Array, token?: string, time?: Environment) => Core;

/** @internal The instantiated module. */
export interface Loaded {
  readonly Core: CoreConstructor;
  readonly memory: WebAssembly.Memory;
  /** The same program with a memory of its own. */
  again(): Loaded;
}
