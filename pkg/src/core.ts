// The WebAssembly core as the facade sees it: numbers in, numbers out. The Rust side is src/wasm/client.rs.

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
}

/** @internal A `cell` that says "no value". */
export const NO_CELL = 0xffffffff;

/** @internal What `Core.offer` returns for a value that it keeps until a change names it. */
export const KEPT = 0xffffffff;

/** @internal What `Core.stat` counts, in its order. */
export const STATS = [
  'applied', 'ignoredStale', 'gaps', 'parseErrors', 'refetches', 'schemaSkews', 'quarantined', 'buffered', 'retries',
] as const;

/** @internal */
export interface Core {
  open(dial: () => Link): void;
  close(): void;
  nudge(): void;
  linkState(): number;
  linkReason(): string;
  linkRetryIn(): number;
  linkCode(): number;

  subscribeObject(key: string, gated: boolean): number;
  subscribeDatastore(id: string, permanent: boolean | undefined, primary: string, gated: boolean): number;
  release(slot: number): void;
  refresh(slot: number): void;
  denial(slot: number): string | undefined;

  put(key: string, value: Uint8Array): number;
  delete(key: string): number;
  set(datastore: string, value: Uint8Array): number;
  remove(datastore: string, key: string): number;
  settlement(request: number): string;

  drain(): number;
  changesPtr(): number;
  cellPtr(cell: number): number;
  cellLen(cell: number): number;
  cellKey(cell: number): string;
  cellSequence(cell: number): number;
  judged(ticket: number, ok: boolean): void;

  sequence(slot: number): number;
  cursor(slot: number): number;
  status(slot: number): number;
  epoch(slot: number): string | undefined;
  schemaVersion(slot: number): string | undefined;
  stat(slot: number, which: number): number;
  isReady(slot: number): boolean;
  isIdle(slot: number): boolean;

  replica(schemaMajor: number, onGap: number, hasRefetch: boolean, retry: boolean): number;
  internEpoch(text: string): number;
  internVersion(text: string): number;
  offer(
    slot: number, source: number, token: number, epoch: number, sequence: number, prev: number, version: number,
  ): number;
  refetched(
    slot: number, attempt: number, token: number, epoch: number, sequence: number, version: number,
  ): number;
  refetchNull(slot: number, attempt: number): void;
  refetchFailed(slot: number, attempt: number): void;
  dispose(slot: number): void;
  free(): void;
}

/** @internal */
export type CoreConstructor = new (seed: Uint8Array, wake: () => void, token?: string) => Core;

/** @internal The instantiated module. */
export interface Loaded {
  readonly Core: CoreConstructor;
  readonly memory: WebAssembly.Memory;
}
