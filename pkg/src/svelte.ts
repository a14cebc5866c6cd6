// `tidewire/svelte`: the store contract for Svelte 5, to be read as a rune (`user.current`) or as a store (`$user`).
//
// Nothing is subscribed before somebody shows it. Replicas are shared by all components of a client that show the same
// key, and let go a moment after the last of them has left.

import { getContext, setContext } from 'svelte';
import { createSubscriber } from 'svelte/reactivity';
import type { Client, ClientStatus } from './client.js';
import type { Collection } from './collection.js';
import { invalid } from './errors.js';
import type { Replica, ReplicaMeta } from './replica.js';
import type { Output, Schema } from './schema.js';
import {
  type CollectionOptions, collectionStore, type CollectionView, metaStore, NO_COLLECTION, NO_POOL, NOTHING, type ObjectStore, type PoolView,
  type Scope, scopeOf, type ScopeOptions, selectStore, type SharedPoolOptions, type Source, type Store, valueStore,
} from './store/index.js';
import type { Path, PartAt } from './value/path.js';

export type { CollectionOptions, CollectionView, PoolView, SharedPoolOptions } from './store/index.js';

/** The name of something to show, or a function that reads it from runes. None: then nothing is asked for. */
export type Name = string | null | undefined | (() => string | null | undefined);

/** A value to show. */
export interface Shown<V> {
  /** The value, tracked by whatever effect, derived or template reads it. */
  readonly current: V;
  /** As of a Svelte store: calls `run` with the value now and after every change. */
  subscribe(run: (value: V) => void): () => void;
}

const KEY = Symbol.for('tidewire.svelte');

/**
 * Gives this component and those below it a client, or the promise of one, and what the page was rendered from.
 *
 * On a server that renders, give it the `state` alone. In the browser give it both: the first render is that of the
 * server, and the subscriptions go on from there.
 */
export function setTidewire(options: ScopeOptions): void {
  setContext(KEY, scopeOf(options));
}

function useScope(): Scope {
  const scope = getContext<Scope | undefined>(KEY);
  if (scope === undefined) throw invalid('there is no client here: call `setTidewire({ client })` in a component above this one');
  return scope;
}

class Showing<V> implements Shown<V> {
  readonly #find: () => Store<V>;
  #store: Store<V> | undefined;
  #track: () => void = () => {};

  constructor(find: () => Store<V>) {
    this.#find = find;
  }

  get current(): V {
    const store = this.#find();
    if (store !== this.#store) {
      this.#store = store;
      this.#track = createSubscriber((update) => store.subscribe(update));
    }
    this.#track();
    return store.getSnapshot();
  }

  readonly subscribe = (run: (value: V) => void): (() => void) => {
    const store = this.#find();
    run(store.getSnapshot());
    return store.subscribe(() => run(store.getSnapshot()));
  };
}

/** The store of the name of the moment, the same one as long as that is the same. */
function named<V>(name: Name, find: (name: string) => Store<V>, none: Store<V>): () => Store<V> {
  let last: string | undefined;
  let store = none;
  return () => {
    const now = typeof name === 'function' ? name() : name;
    if (now == null) return none;
    if (now !== last) [last, store] = [now, find(now)];
    return store;
  };
}

const always = <V>(store: Store<V>): Shown<V> => new Showing(() => store);

/** The client; nothing as long as it is only promised. */
export function useClient(): Shown<Client | undefined> {
  return always(useScope().client);
}

/** An object to show, and its replica. */
export interface ShownObject<T> extends Shown<T | undefined> {
  /** The replica, for its events and its meta; nothing as long as there is no client. Tracked like the value. */
  readonly replica: Replica<T> | undefined;
}

class ShowingObject<T> extends Showing<T | undefined> implements ShownObject<T> {
  readonly #handle: Shown<Replica<T> | undefined>;

  constructor(find: () => Store<T | undefined>) {
    super(find);
    this.#handle = new Showing(() => (find() as Partial<ObjectStore<T>>).handle ?? NOTHING);
  }

  get replica(): Replica<T> | undefined {
    return this.#handle.current;
  }
}

/** The object `key`: `undefined` before its first value and after its deletion. */
export function useSynced<S extends Schema>(key: Name, schema: S): ShownObject<Output<S>>;
export function useSynced<T = unknown>(key: Name, schema?: undefined): ShownObject<T>;
export function useSynced(key: Name, schema?: Schema): ShownObject<unknown> {
  const scope = useScope();
  return new ShowingObject(named<unknown>(key, (name) => scope.synced(name, schema as undefined), NOTHING));
}

/** The records of a datastore, and the way to change them. A collection that the application made stays its own. */
export function useCollection<S extends Schema>(id: Name, schema: S, options?: CollectionOptions<Output<S>>): Shown<CollectionView<Output<S>>>;
export function useCollection<T = unknown>(id: Name, schema?: undefined, options?: CollectionOptions<T>): Shown<CollectionView<T>>;
export function useCollection<T>(collection: Collection<T>): Shown<CollectionView<T>>;
export function useCollection(
  what: Name | Collection<unknown>, schema?: Schema, options?: CollectionOptions,
): Shown<CollectionView<unknown>> {
  if (typeof what === 'object' && what !== null) return always(collectionStore(what));
  const scope = useScope();
  return new Showing(named<CollectionView<unknown>>(what, (id) => scope.collection(id, schema as undefined, options), NO_COLLECTION));
}

/**
 * The fields of a merge pool, and the way to set them. With `presence`, what this client has set goes a moment after the
 * last component that shows the pool.
 */
export function usePool<S extends Schema>(id: Name, schema: S, options?: SharedPoolOptions): Shown<PoolView<Output<S>>>;
export function usePool<T = unknown>(id: Name, schema?: undefined, options?: SharedPoolOptions): Shown<PoolView<T>>;
export function usePool(id: Name, schema?: Schema, options?: SharedPoolOptions): Shown<PoolView<unknown>> {
  const scope = useScope();
  return new Showing(named<PoolView<unknown>>(id, (name) => scope.pool(name, schema as undefined, options), NO_POOL));
}

/** The value of a replica that the application made, the rows of a collection, or the fields of a pool. */
export function useReplica<V>(replica: Source<V>): Shown<V> {
  return always(valueStore(replica));
}

/** A part of what a replica or collection shows; only that part is made. */
export function useSelect<T, const P extends Path>(replica: Replica<T>, part: P): Shown<PartAt<T, P> | undefined>;
export function useSelect<T, const P extends Path>(
  collection: Collection<T>, part: P,
): Shown<PartAt<Readonly<Record<string, T>>, P> | undefined>;
export function useSelect(replica: Source, part: Path): Shown<unknown> {
  return always(selectStore(replica, part));
}

/** The state of the session or, with a replica or collection, where that one stands. */
export function useStatus(): Shown<ClientStatus>;
export function useStatus(replica: Source): Shown<ReplicaMeta>;
export function useStatus(replica?: Source): Shown<ClientStatus | ReplicaMeta> {
  return replica === undefined ? always<ClientStatus | ReplicaMeta>(useScope().status) : always(metaStore(replica));
}
