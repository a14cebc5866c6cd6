// What a server holds, from the authority's side: datastores, merge pools, mailboxes and the key-value store.

import { decode } from '../value/decode.js';
import { checkKey, encode } from '../value/encode.js';
import type { ServerCore } from './core.js';

/** How to open a datastore. */
export interface ServerDatastoreOptions {
  /** Default: `temp`, which expires when it is not used. */
  kind?: 'permanent' | 'temp' | undefined;
  /** The field that names a record. Default: `id`. */
  primary?: string | undefined;
}

/** A datastore, from the authority's side. */
export interface ServerDatastore<T = unknown> {
  /** The public id. */
  readonly id: string;
  /** Inserts or replaces a record. Returns the sequence that the change got. */
  set(value: T): number;
  /** Deletes a record. Returns the sequence that the change got; `null` if there was no such record. */
  delete(key: string): number | null;
  /** A record as it is; `undefined` where there is none. */
  get(key: string): T | undefined;
  /** All records, in the order of their last changes; none once it has expired. */
  rows(): T[];
}

/** A merge pool, from the authority's side. */
export interface ServerPool {
  /** The public id. */
  readonly id: string;
  /**
   * Merges fields; `null` takes one away. Returns the sequence of the last change, `null` where nothing had to change. What
   * the authority merges stays when clients go.
   */
  merge(fields: Readonly<Record<string, unknown>>): number | null;
  /** All fields, in the order of their last changes; none once it has expired. */
  fields(): Map<string, unknown>;
}

/** A notification, and what became of it. Times are milliseconds since 1970. */
export interface ServerNotification {
  /** Its id: 32 hex digits. */
  readonly trace: string;
  /** Who put it: a user, or `server`. */
  readonly from: string;
  /** Whose mailbox it is in. */
  readonly to: string;
  /** What it says. */
  readonly pack: unknown;
  /** Whether a reply is expected. */
  readonly suit: boolean;
  readonly created: number;
  readonly expires: number;
  /** When it was delivered; `null` while it waits. */
  readonly delivered: number | null;
  /** The last reply to it, if any. */
  readonly reply: unknown;
}

/** The mailbox of a user, from the authority's side. */
export interface ServerMailbox {
  /** Puts a notification into it, for `ttl` milliseconds or a day. Returns its trace. */
  put(pack: unknown, options?: { suit?: boolean | undefined; ttl?: number | undefined }): string;
  /** Takes out all that wait. */
  drain(): ServerNotification[];
  /** What became of a notification; `null` where there is none. */
  status(trace: string): ServerNotification | null;
  /** Replies to a suit notification in the user's name. */
  reply(trace: string, value: unknown): void;
}

/** A group of the key-value store, from the authority's side. */
export interface ServerGroup {
  /** Sets a key, for `ttl` milliseconds or for ever. */
  set(key: string, value: unknown, options?: { ttl?: number | undefined }): void;
  /** A key's value; `undefined` where there is none. */
  get(key: string): unknown;
  /** Deletes a key; `false` where there was nothing to delete. */
  delete(key: string): boolean;
  /** All keys with their values, in the order of the keys. */
  entries(): Map<string, unknown>;
  /** Deletes all keys; `false` where there was nothing to delete. */
  clear(): boolean;
}

/** Gives the core a command at the server's present time. */
export type Run = <R>(input: (core: ServerCore, now: number) => R) => R;

/** @internal */
export function serverDatastore<T>(run: Run, id: string, { kind = 'temp', primary = 'id' }: ServerDatastoreOptions): ServerDatastore<T> {
  checkKey(id, 'datastore: the id');
  checkKey(primary, 'datastore: `primary`');
  const opened = run((core, now) => core.openDatastore(now, id, kind === 'permanent', primary));
  const records = (): [string, T][] => entriesOf(run((core, now) => core.records(now, false, opened)));
  return {
    id: opened,
    set: (value) => {
      const bytes = encode(value);
      return run((core, now) => core.set(now, opened, bytes));
    },
    delete: (key) => {
      checkKey(key, 'the key of a record');
      return changed(run((core, now) => core.remove(now, opened, key)));
    },
    get: (key) => records().find(([name]) => name === key)?.[1],
    rows: () => records().map(([, row]) => row),
  };
}

/** @internal */
export function serverPool(run: Run, id: string, { presence = false }: { presence?: boolean | undefined }): ServerPool {
  checkKey(id, 'pool: the id');
  const opened = run((core, now) => core.openPool(now, id, presence));
  return {
    id: opened,
    merge: (fields) => {
      const bytes = encode(fields);
      return changed(run((core, now) => core.merge(now, opened, bytes)));
    },
    fields: () => new Map(entriesOf(run((core, now) => core.records(now, true, opened)))),
  };
}

/** @internal */
export function serverMailbox(run: Run, user: string): ServerMailbox {
  checkKey(user, 'mailbox: the user');
  return {
    put: (pack, { suit = false, ttl = -1 } = {}) => {
      const bytes = encode(pack);
      return run((core, now) => core.notify(now, user, bytes, suit, ttl));
    },
    drain: () => decoded(run((core, now) => core.drain(now, user))) as ServerNotification[],
    status: (trace) => decoded(run((core, now) => core.notification(now, trace))) as ServerNotification | undefined ?? null,
    reply: (trace, value) => {
      const bytes = encode(value);
      run((core, now) => core.reply(now, trace, bytes));
    },
  };
}

/** @internal */
export function serverGroup(run: Run, group: string): ServerGroup {
  checkKey(group, 'kv: the group');
  const checked = (key: string): string => {
    checkKey(key, 'kv: the key');
    return key;
  };
  return {
    set: (key, value, { ttl = -1 } = {}) => {
      const bytes = encode(value);
      run((core, now) => core.kvSet(now, group, checked(key), bytes, ttl));
    },
    get: (key) => decoded(run((core, now) => core.kvGet(now, group, checked(key)))),
    delete: (key) => run((core, now) => core.kvDelete(now, group, checked(key))),
    entries: () => new Map(entriesOf(run((core, now) => core.kvGet(now, group)))),
    clear: () => run((core, now) => core.kvDelete(now, group)),
  };
}

/** @internal A sequence; `null` where nothing had to change. */
export function changed(sequence: number): number | null {
  return sequence < 0 ? null : sequence;
}

/** Pairs of what is one after the other. */
function entriesOf<T>(bytes: Uint8Array | undefined): [string, T][] {
  const flat = (decoded(bytes) ?? []) as (string | T)[];
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, flat[2 * i + 1] as T]);
}

function decoded(bytes: Uint8Array | undefined): unknown {
  return bytes === undefined ? undefined : decode(bytes);
}
