// `tidewire/solid`: accessors over the store contract.
//
// Values are compared by identity and need no `reconcile`: what did not change is the same object, so `<For>` keeps the
// elements of rows that did not. Replicas are shared by all who show the same key, and let go a moment after the last of
// them has left.

import {
  type Accessor, createComponent, createContext, createMemo, createRenderEffect, createSignal, type JSX, onCleanup, onMount, sharedConfig, untrack,
  useContext,
} from 'solid-js';
import type { Client, ClientStatus } from './client.js';
import type { Collection } from './collection.js';
import { invalid } from './errors.js';
import type { Pool } from './pool.js';
import type { Replica, ReplicaMeta } from './replica.js';
import type { Output, Schema } from './schema.js';
import {
  type CollectionOptions, collectionStore, type CollectionView, metaStore, NO_COLLECTION, NO_POOL, NOTHING, type PoolView,
  type Scope, scopeOf, type ScopeOptions, selectStore, type SharedPoolOptions, type Source, type Store, valueStore,
} from './store/index.js';
import type { Path, PartAt } from './value/path.js';

export type { CollectionOptions, CollectionView, PoolView, SharedPoolOptions } from './store/index.js';

/** The name of something to show, or an accessor of it. None: then nothing is asked for. */
export type Name = string | null | undefined | Accessor<string | null | undefined>;

const Context = createContext<Scope>();

/** What {@link TidewireProvider} takes. */
export interface TidewireProviderProps extends ScopeOptions {
  readonly children?: JSX.Element;
}

/**
 * Gives the components below a client, or the promise of one, and what the page was rendered from.
 *
 * On a server that renders, give it the `state` alone. In the browser give it both: the first render is that of the
 * server, and the subscriptions go on from there.
 */
export function TidewireProvider(props: TidewireProviderProps): JSX.Element {
  const scope = untrack(() => scopeOf({ client: props.client, state: props.state }));
  return createComponent(Context.Provider, { value: scope, get children() { return props.children; } });
}

function useScope(): Scope {
  const scope = useContext(Context);
  if (scope === undefined) throw invalid('there is no <TidewireProvider client={…}> above this component');
  return scope;
}

/** What the store of the moment shows, until its owner is gone. */
function show<V>(find: () => Store<V>): Accessor<V> {
  const store = createMemo(find);
  // What takes over a server's rendering takes its text for granted, and first has to show the same.
  let isHydrating = sharedConfig.context !== undefined;
  const read = ({ getSnapshot, getServerSnapshot }: Store<V>): V => (isHydrating ? getServerSnapshot() : getSnapshot());
  const [value, setValue] = createSignal(read(untrack(store)));
  const update = (): void => void setValue(() => read(untrack(store)));
  createRenderEffect(() => {
    const { subscribe } = store();
    untrack(update);
    onCleanup(subscribe(update));
  });
  if (isHydrating) {
    onMount(() => {
      isHydrating = false;
      update();
    });
  }
  return value;
}

const nameOf = (name: Name): string | null | undefined => (typeof name === 'function' ? name() : name);

/** The client; nothing as long as it is only promised. */
export function useClient(): Accessor<Client | undefined> {
  const { client } = useScope();
  return show(() => client);
}

/** The object `key`: `undefined` before its first value and after its deletion. */
export function useSynced<S extends Schema>(key: Name, schema: S): Accessor<Output<S> | undefined>;
export function useSynced<T = unknown>(key: Name, schema?: undefined): Accessor<T | undefined>;
export function useSynced(key: Name, schema?: Schema): Accessor<unknown> {
  const scope = useScope();
  return show((): Store<unknown> => {
    const name = nameOf(key);
    return name == null ? NOTHING : scope.synced(name, schema as undefined);
  });
}

/** The replica of the object `key`, for its events and its meta; nothing as long as there is no client. */
export function useSyncedReplica<S extends Schema>(key: Name, schema: S): Accessor<Replica<Output<S>> | undefined>;
export function useSyncedReplica<T = unknown>(key: Name, schema?: undefined): Accessor<Replica<T> | undefined>;
export function useSyncedReplica(key: Name, schema?: Schema): Accessor<Replica<unknown> | undefined> {
  const scope = useScope();
  return show((): Store<Replica<unknown> | undefined> => {
    const name = nameOf(key);
    return name == null ? NOTHING : scope.synced(name, schema as undefined).handle;
  });
}

/** What {@link useCollection} returns. */
export interface CollectionAccessors<T> extends Pick<CollectionView<T>, 'set' | 'delete'> {
  /** All records in the order of their last change. The array, and each record, is the same until it changes. */
  readonly rows: Accessor<readonly T[]>;
  /** Whether these are the authority's rows, and not the emptiness before them. */
  readonly isReady: Accessor<boolean>;
  /** The live collection; none as long as there is no client. */
  readonly collection: Accessor<Collection<T> | undefined>;
}

/** The records of a datastore, and the way to change them. A collection that the application made stays its own. */
export function useCollection<S extends Schema>(id: Name, schema: S, options?: CollectionOptions<Output<S>>): CollectionAccessors<Output<S>>;
export function useCollection<T = unknown>(id: Name, schema?: undefined, options?: CollectionOptions<T>): CollectionAccessors<T>;
export function useCollection<T>(collection: Collection<T>): CollectionAccessors<T>;
export function useCollection(
  what: Name | Collection<unknown>, schema?: Schema, options?: CollectionOptions,
): CollectionAccessors<unknown> {
  const view = typeof what === 'object' && what !== null
    ? show<CollectionView<unknown>>(() => collectionStore(what))
    : showNamed(useScope(), what, schema, options);
  return {
    rows: () => view().rows,
    isReady: () => view().isReady,
    collection: () => view().collection,
    set: (value) => untrack(view).set(value),
    delete: (key) => untrack(view).delete(key),
  };
}

function showNamed(
  scope: Scope, id: Name, schema: Schema | undefined, options: CollectionOptions | undefined,
): Accessor<CollectionView<unknown>> {
  return show((): Store<CollectionView<unknown>> => {
    const name = nameOf(id);
    return name == null ? NO_COLLECTION : scope.collection(name, schema as undefined, options);
  });
}

/** What {@link usePool} returns. */
export interface PoolAccessors<T> extends Pick<PoolView<T>, 'set' | 'delete'> {
  /** All fields. The object, and each value, is the same until it changes. */
  readonly fields: Accessor<Readonly<Record<string, T>>>;
  /** Whether these are the pool's fields, and not the emptiness before them. */
  readonly isReady: Accessor<boolean>;
  /** The live pool; none as long as there is no client. */
  readonly pool: Accessor<Pool<T> | undefined>;
}

/**
 * The fields of a merge pool, and the way to set them. With `presence`, what this client has set goes a moment after the
 * last component that shows the pool.
 */
export function usePool<S extends Schema>(id: Name, schema: S, options?: SharedPoolOptions): PoolAccessors<Output<S>>;
export function usePool<T = unknown>(id: Name, schema?: undefined, options?: SharedPoolOptions): PoolAccessors<T>;
export function usePool(id: Name, schema?: Schema, options?: SharedPoolOptions): PoolAccessors<unknown> {
  const scope = useScope();
  const view = show((): Store<PoolView<unknown>> => {
    const name = nameOf(id);
    return name == null ? NO_POOL : scope.pool(name, schema as undefined, options);
  });
  return {
    fields: () => view().fields,
    isReady: () => view().isReady,
    pool: () => view().pool,
    set: (fields) => untrack(view).set(fields),
    delete: (field) => untrack(view).delete(field),
  };
}

/** The value of a replica that the application made, the rows of a collection, or the fields of a pool. */
export function useReplica<V>(replica: Source<V>): Accessor<V> {
  return show(() => valueStore(replica));
}

/** A part of what a replica or collection shows; only that part is made. */
export function useSelect<T, const P extends Path>(replica: Replica<T>, part: P): Accessor<PartAt<T, P> | undefined>;
export function useSelect<T, const P extends Path>(
  collection: Collection<T>, part: P,
): Accessor<PartAt<Readonly<Record<string, T>>, P> | undefined>;
export function useSelect(replica: Source, part: Path): Accessor<unknown> {
  return show(() => selectStore(replica, part));
}

/** The state of the session or, with a replica or collection, where that one stands. */
export function useStatus(): Accessor<ClientStatus>;
export function useStatus(replica: Source): Accessor<ReplicaMeta>;
export function useStatus(replica?: Source): Accessor<ClientStatus | ReplicaMeta> {
  if (replica !== undefined) return show(() => metaStore(replica));
  const { status } = useScope();
  return show<ClientStatus | ReplicaMeta>(() => status);
}
