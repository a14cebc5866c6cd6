// The one contract beneath all adapters: a value that can be looked at, and a way to hear that it changed.
//
// It is that of React's `useSyncExternalStore`, and whatever shows values can be built on it: `getSnapshot` gives the
// same object until something changed, so comparing by identity says whether there is anything to render.

import { effect, untracked } from '@preact/signals-core';
import type { Client, ClientStatus } from '../client.js';
import type { Collection } from '../collection.js';
import type { Pool } from '../pool.js';
import type { Replica, ReplicaMeta } from '../replica.js';
import { type Path, type PartAt, walk, wordsOf } from '../value/path.js';
import { Shared } from './shared.js';

/** A value over time. Its functions may be passed around without it. */
export interface Store<V> {
  /**
   * Calls `onChange` after every change, never at once, and at most once per frame of the server: then all replicas show
   * what that frame brought. The returned function ends it.
   */
  readonly subscribe: (onChange: () => void) => () => void;
  /** What is shown now: the same object until it changes. */
  readonly getSnapshot: () => V;
  /** What the page was rendered from on its server; where it was not, what is shown now. */
  readonly getServerSnapshot: () => V;
}

/** What can be shown: a replica, a collection, or whatever else can be observed as they can. */
export interface Source<V = unknown> {
  subscribe(listener: (value: V) => void): () => void;
  select(part: Path, listener: (part: unknown) => void): () => void;
  on(event: 'change', listener: () => void): () => void;
  peekMeta(): ReplicaMeta;
}

const nothing = (): (() => void) => () => {};

/** A store whose value never comes. */
export const NOTHING: Store<undefined> = { subscribe: nothing, getSnapshot: () => undefined, getServerSnapshot: () => undefined };

/** The state of a client that there is not yet. */
export const CONNECTING: ClientStatus = Object.freeze({ state: 'connecting' });

/** A store of both worlds: nothing of it comes from the page. */
function here<V>(subscribe: Store<V>['subscribe'], getSnapshot: () => V): Store<V> {
  return { subscribe, getSnapshot, getServerSnapshot: getSnapshot };
}

/** The same result for the same object, for as long as there is that object. */
function once<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const made = new WeakMap<K, V>();
  return (key) => {
    let value = made.get(key);
    if (value === undefined) made.set(key, (value = make(key)));
    return value;
  };
}

function shown<V>(source: Source<V>): V {
  const known = source as Partial<Pick<Replica<V>, 'peek'> & Pick<Collection<unknown>, 'peekRows'> & Pick<Pool<unknown>, 'peekFields'>>;
  if (known.peek !== undefined) return known.peek() as V;
  if (known.peekRows !== undefined) return known.peekRows() as V;
  if (known.peekFields !== undefined) return known.peekFields() as V;
  let value: V | undefined;
  source.subscribe((now) => { value = now; })();
  return value as V;
}

const values = once((source: Source): Store<unknown> => (
  here((onChange) => source.on('change', onChange), () => shown(source))
));

/** The value of a replica, or the rows of a collection. The same store for the same replica. */
export function valueStore<V>(source: Source<V>): Store<V> {
  return values(source) as Store<V>;
}

const metas = once((source: Source): Store<ReplicaMeta> => {
  let last: ReplicaMeta | undefined;
  return here((onChange) => source.on('change', onChange), () => {
    const meta = source.peekMeta();
    // The core says that the meta may have changed, not that it has.
    if (last === undefined || !isEqual(last, meta)) last = meta;
    return last;
  });
});

/** Where a replica or collection stands. The same store for the same replica. */
export function metaStore(source: Source): Store<ReplicaMeta> {
  return metas(source);
}

/** @internal Whether two objects have the same fields. */
export function isEqual<T extends object>(one: T, other: T): boolean {
  return (Object.keys(one) as (keyof T)[]).every((name) => Object.is(one[name], other[name]));
}

const statuses = once((client: Client): Store<ClientStatus> => ({
  ...here((onChange) => {
    let isFirst = true;
    return effect(() => {
      client.status();
      if (!isFirst) untracked(onChange);
      isFirst = false;
    });
  }, () => client.peekStatus()),
  getServerSnapshot: () => CONNECTING,
}));

/** The state of a client's session. The same store for the same client. */
export function statusStore(client: Client): Store<ClientStatus> {
  return statuses(client);
}

/** Something that may come to have a source, and to have another one. */
interface Provider {
  readonly replica: Pick<Source, 'select'> | undefined;
  readonly subscribe: (onChange: () => void) => () => void;
  /** What the page was rendered from, where that may be something else. */
  readonly getServerSnapshot?: () => unknown;
}

/**
 * A part of what is shown, made alone. A path into a collection begins with the key of a record.
 *
 * Make one, and keep it for as long as the part is shown.
 */
export function selectStore<T, const P extends Path>(source: Replica<T>, part: P): Store<PartAt<T, P> | undefined>;
export function selectStore<T, const P extends Path>(source: Collection<T>, part: P): Store<PartAt<Readonly<Record<string, T>>, P> | undefined>;
export function selectStore(source: Source, part: Path): Store<unknown>;
export function selectStore(source: Source, part: Path): Store<unknown> {
  return new Selection({ replica: source, subscribe: nothing }, part);
}

/** @internal A part of whatever a provider has at the time. */
export class Selection extends Shared implements Store<unknown> {
  #release: (() => void) | undefined;
  #end: (() => void) | undefined;
  #source: Provider['replica'];
  #value: unknown;
  #isEnding = false;

  constructor(readonly provider: Provider, readonly part: Path) {
    super();
  }

  readonly subscribe = (onChange: () => void): (() => void) => this.retain(onChange);

  readonly getSnapshot = (): unknown => {
    this.touch();
    return this.#source === undefined ? this.#served() : this.#value;
  };

  readonly getServerSnapshot = (): unknown => (
    this.provider.getServerSnapshot === undefined ? this.getSnapshot() : this.#served()
  );

  protected open(): void {
    this.#release = this.provider.subscribe(() => this.#follow());
    this.#follow();
  }

  protected close(): void {
    this.#release?.();
    this.#end?.();
    this.#end = this.#source = undefined;
  }

  #served(): unknown {
    return walk(this.provider.getServerSnapshot?.(), wordsOf(this.part));
  }

  #follow(): void {
    const { replica } = this.provider;
    if (replica === this.#source) return;
    this.#end?.();
    this.#source = replica;
    this.#isEnding = true;
    this.#end = replica?.select(this.part, (value: unknown) => {
      this.#value = value;
      if (!this.#isEnding) this.notify();
    });
    this.#isEnding = false;
    this.notify();
  }
}
