// The WebAssembly core as the facade sees it: numbers in, numbers out. Texts and bytes lie in its memory, and their ends
// and lengths cross (memory.ts). The Rust side is src/wasm/client.rs.

import type { host } from './patterns.js';

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

/** @internal What `Core.offer` returns for a value that is to be offered again when the core has been told what time it is. */
export const CLOCK = 0xfffffffc;

/** @internal What `Core.offer` is told of the gate and, for a receipt that it wanted again, that it knows what time it is. */
export const enum Judged { Not, Good, Bad, Timed = 4 }

/** @internal What a replica counts, in the order of `Core.meta`. */
export const STATS = [
  'applied', 'ignoredStale', 'gaps', 'parseErrors', 'refetches', 'schemaSkews', 'quarantined', 'buffered', 'retries',
] as const;

/** @internal What `Core.link` finds. */
export const enum LinkFact { State, RetryIn, Code }

/** @internal What `Core.meta` finds; the counters follow. */
export const enum MetaFact { Sequence, Cursor, Status, IsReady, IsIdle, Stats }

/** @internal What `Core.text` tells of the link, a slot, a write, what was refused, a value that broke a rule. */
export const enum Text { LinkReason, Denial, Settlement, Epoch, SchemaVersion, Refusal, Fault }

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

/**
 * @internal What `Core.ask` is asked, with what each takes. `length`, `middle` and such are ends in the room; what lies in
 * memory is told by its address.
 */
export const enum Ask {
  /** asksForTokens, length (of the token for all links), addresses */
  Open,
  /** link */
  Opened,
  /** link, code, length */
  Closed,
  Timeout,
  /** link, ok, length */
  Token,
  Close,
  Nudge,
  /** Gives `LinkFact`s. */
  Link,
  /** which, number: gives the address and length of a text, or nothing. */
  Text,
  /** length, isLibrary: gives a gate, or -1. */
  Gate,
  /** gate, length: gives whether it passes. */
  Check,
  /** target, middle, end, gate: gives a slot, or 0. */
  Subscribe,
  /** slot, gate */
  Adopt,
  /** isOn */
  Hold,
  /** slot */
  Release,
  /** slot */
  Refresh,
  /** length: gives the number of the question, or one below 0. */
  Query,
  /** length, ok */
  Taken,
  /** Gives where wants are written. */
  Wants,
  /** cell, base, length: gives a tape. */
  Part,
  /** slot: gives a list. */
  Rows,
  /** slot, length: gives a cell. */
  Row,
  /** slot: gives `MetaFact`s. */
  Meta,
  /** `Own`, schemaMajor: gives a slot. */
  Replica,
  /** isVersion, length: gives a number. */
  Intern,
  /** slot, attempt, hasFailed */
  Missed,
}

/** @internal What a replica over an own transport is, as a sum. */
export const enum Own { IsGated = 1, Commits = 2, HasRefetch = 4, Retries = 8 }

/** @internal */
export interface Core {
  tick(wall: number): void;
  room(length: number): number;
  ask(what: Ask, a?: number | boolean, b?: number | boolean, c?: number | boolean, d?: number): number;
  frame(link: number, length: number): void;
  write(length: number): number;
  seed(slot: number, sequence: number, first: number, second: number, end: number, isRows: boolean): void;
  drain(): number;
  build(count: number): number;
  letGo(cell: number): void;
  cellSequence(cell: number): number;
  judged(ticket: number, ok: boolean): boolean;
  offer(
    slot: number, attempt: number, token: number, epoch: number, sequence: number, prev: number, version: number,
    judged: Judged,
  ): number;
  free(): void;
}

/** @internal */
export type CoreConstructor = new (a: number, b: number, c: number, d: number, wall: number) => Core;

/** @internal What the core calls. */
export type Host = typeof host;

/** @internal The instantiated module. */
export interface Loaded {
  readonly Core: CoreConstructor;
  readonly memory: WebAssembly.Memory;
  /** The same program with a memory of its own. */
  again(): Loaded;
}
