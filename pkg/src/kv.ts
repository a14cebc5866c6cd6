// The kv store, seen from a client: nothing is kept here, every answer is the server's.

import { Message, Question, Target, Write } from './core.js';
import { checkListener, type TidewireError } from './errors.js';
import { Feed } from './feed.js';
import { lifetime } from './inbox.js';
import { report, type Runtime } from './runtime.js';
import { checkKey, encode } from './value/encode.js';
import { list, message } from './value/message.js';

/** How to set a key. */
export interface KvSetOptions {
  /** Milliseconds that the value lives. Default: for ever; an earlier expiry is taken away. */
  ttl?: number | undefined;
}

/** What a watch tells. Times are in milliseconds since 1970 on the server's clock. */
export type KvEvent<T = unknown> =
  | { readonly kind: 'set'; readonly group: string; readonly key: string; readonly value: T; readonly at: number }
  | { readonly kind: 'delete'; readonly group: string; readonly key: string; readonly at: number }
  | { readonly kind: 'delete_group'; readonly group: string; readonly at: number }
  /** From now on nothing is missed. It comes first, and again after every lost connection: read what you need then. */
  | { readonly kind: 'following' }
  /** So many events were lost here, as they came faster than this client reads: read again what you need. */
  | { readonly kind: 'dropped'; readonly count: number };

/** Changes that are made together. */
export interface KvChanges {
  set(key: string, value: unknown, options?: KvSetOptions): KvChanges;
  delete(key: string): KvChanges;
  /** Deletes the group with all its keys. */
  deleteGroup(): KvChanges;
  /** The same changes, in another group. */
  group(name: string): KvChanges;
}

/** One group of the kv store. Writes resolve when they are durable at the server. */
export interface KvGroup {
  readonly group: string;
  /** The value of a key; `undefined` where it is not set. */
  get<T = unknown>(key: string): Promise<T | undefined>;
  /** All keys with their values. */
  getAll<T = unknown>(): Promise<Record<string, T>>;
  /** How many keys there are. */
  count(): Promise<number>;
  set(key: string, value: unknown, options?: KvSetOptions): Promise<void>;
  delete(key: string): Promise<void>;
  /** Deletes the group with all its keys. */
  deleteGroup(): Promise<void>;
  /** Makes all the changes that `build` adds, in their order, or none of them. */
  transaction(build: (changes: KvChanges) => void): Promise<void>;
  /** `template` with the values of the group in the places of their keys, where the server renders for clients. */
  render(template: string): Promise<string>;
  /** The names of all groups that begin with `prefix`. */
  groups(prefix?: string): Promise<string[]>;
  /** How many keys all those groups have. */
  countAll(prefix?: string): Promise<number>;
  /**
   * Calls `listener` with every change of a key, or of all keys with `'*'`; of all groups if the group is `'*'` too.
   * The returned function ends it. `onError` hears if the server does not allow it; by default that is reported.
   */
  watch<T = unknown>(key: string, listener: (event: KvEvent<T>) => void, onError?: (error: TidewireError) => void): () => void;
}

/** In the order of their numbers on the wire. */
const KINDS = ['set', 'delete', 'delete_group'] as const;

/** Adds changes of `group` to `all`, encoded. */
function changesOf(group: string, all: Uint8Array[]): KvChanges {
  const changes: KvChanges = {
    set(key, value, { ttl } = {}) {
      checkKey(key, 'set: the key');
      all.push(message(0, group, key, value, lifetime(ttl)));
      return changes;
    },
    delete(key) {
      checkKey(key, 'delete: the key');
      all.push(message(1, group, key));
      return changes;
    },
    deleteGroup() {
      all.push(message(2, group));
      return changes;
    },
    group(name) {
      checkKey(name, 'the group');
      return changesOf(name, all);
    },
  };
  return changes;
}

export class SessionKv implements KvGroup {
  readonly #runtime: Runtime;

  constructor(runtime: Runtime, readonly group: string) {
    this.#runtime = runtime;
  }

  async get<T>(key: string): Promise<T | undefined> {
    checkKey(key, 'get: the key');
    return this.#ask(Question.Get, this.group, key);
  }

  getAll<T>(): Promise<Record<string, T>> {
    return this.#ask(Question.GetAll, this.group);
  }

  count(): Promise<number> {
    return this.#ask(Question.Count, this.group);
  }

  set(key: string, value: unknown, options?: KvSetOptions): Promise<void> {
    return this.transaction((changes) => changes.set(key, value, options));
  }

  delete(key: string): Promise<void> {
    return this.transaction((changes) => changes.delete(key));
  }

  deleteGroup(): Promise<void> {
    return this.transaction((changes) => changes.deleteGroup());
  }

  async transaction(build: (changes: KvChanges) => void): Promise<void> {
    const changes: Uint8Array[] = [];
    build(changesOf(this.group, changes));
    if (changes.length > 0) await this.#runtime.write(list([encode(Write.Kv), list(changes)]));
  }

  async render(template: string): Promise<string> {
    checkKey(template, 'render: the template');
    return this.#ask(Question.Render, template, this.group);
  }

  async groups(prefix = ''): Promise<string[]> {
    checkKey(prefix, 'groups: the prefix');
    return this.#ask(Question.Groups, prefix);
  }

  async countAll(prefix = ''): Promise<number> {
    checkKey(prefix, 'countAll: the prefix');
    return this.#ask(Question.CountAll, prefix);
  }

  watch<T>(key: string, listener: (event: KvEvent<T>) => void, onError: (error: TidewireError) => void = report): () => void {
    checkKey(key, 'watch: the key');
    checkListener(listener);
    const feed = new Feed(this.#runtime, Target.Watch, this.group, key, {
      hear: (fields) => {
        try {
          listener(eventOf(fields) as KvEvent<T>);
        } catch (error) {
          report(error);
        }
      },
      deny: onError,
    });
    return () => feed.end();
  }

  #ask<T>(...question: [Question, ...string[]]): Promise<T> {
    const [kind, ...parts] = question;
    return this.#runtime.query(message(kind, ...parts)) as Promise<T>;
  }
}

function eventOf([message, , ...fields]: readonly unknown[]): KvEvent {
  if (message === Message.Following) return { kind: 'following' };
  if (message === Message.Dropped) return { kind: 'dropped', count: fields[0] as number };
  const [number, group, key, at, value] = fields as [number, string, string, number, unknown];
  const kind = KINDS[number]!;
  if (kind === 'set') return { kind, group, key, value, at };
  return kind === 'delete' ? { kind, group, key, at } : { kind, group, at };
}
