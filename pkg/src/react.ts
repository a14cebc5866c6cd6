// `tidewire/react`: hooks over the store contract.
//
// Replicas are shared by all components of a client that show the same key, and let go a moment after the last of them
// has left; so effects that run twice, and routes that show the same, subscribe once.

import {
  createContext, createElement, type ReactElement, type ReactNode, useContext, useMemo, useSyncExternalStore,
} from 'react';
import type { Client, ClientStatus } from './client.js';
import type { Collection } from './collection.js';
import { invalid } from './errors.js';
import type { Replica, ReplicaMeta } from './replica.js';
import type { Output, Schema } from './schema.js';
import {
  type CollectionOptions, type CollectionStore, collectionStore, type CollectionView, metaStore, NO_COLLECTION, NO_POOL, NOTHING, type ObjectStore,
  type PoolView, type Scope, scopeOf, type ScopeOptions, selectStore, type SharedPoolOptions, type Source, type Store, valueStore,
} from './store/index.js';
import type { Path, PartAt } from './value/path.js';

export type { CollectionOptions, CollectionView, PoolView, SharedPoolOptions } from './store/index.js';

/** The name of something to show. None, as long as it is not known: then nothing is asked for. */
export type Name = string | null | undefined;

const Context = createContext<Scope | undefined>(undefined);

/** What {@link TidewireProvider} takes. */
export interface TidewireProviderProps extends ScopeOptions {
  readonly children?: ReactNode;
}

/**
 * Gives the components below a client, or the promise of one, and what the page was rendered from.
 *
 * On a server that renders, give it the `state` alone. In the browser give it both: the first render is that of the
 * server, and the subscriptions go on from there.
 */
export function TidewireProvider({ client, state, children }: TidewireProviderProps): ReactElement {
  const scope = useMemo(() => scopeOf({ client, state }), [client, state]);
  return createElement(Context.Provider, { value: scope }, children);
}

function useScope(): Scope {
  const scope = useContext(Context);
  if (scope === undefined) throw invalid('there is no <TidewireProvider client={…}> above this component');
  return scope;
}

function useStore<V>({ subscribe, getSnapshot, getServerSnapshot }: Store<V>): V {
  return useSyncExternalStore(subscribe, getSnapshot, getServerSnapshot);
}

/** The client; nothing as long as it is only promised. */
export function useClient(): Client | undefined {
  return useStore(useScope().client);
}

function useObject(key: Name, schema: Schema | undefined): ObjectStore<unknown> | undefined {
  const scope = useScope();
  // The schema of the first render counts: one that is written down in the component is another one each time.
  return useMemo(() => (key == null ? undefined : scope.synced(key, schema as undefined)), [scope, key]);
}

/** Picks a part of a value: the way to it, or a function. */
export interface SelectOption<P> {
  /** With a way such as `'author.name'`, only that part is made, and the component renders when that part changes. */
  readonly select: P;
}

/**
 * The object `key`: `undefined` before its first value and after its deletion.
 *
 * The schema is that of the first render with this key.
 */
export function useSynced<S extends Schema>(key: Name, schema: S): Output<S> | undefined;
export function useSynced<T = unknown>(key: Name, schema?: undefined): T | undefined;
export function useSynced<S extends Schema, const P extends Path>(key: Name, schema: S, options: SelectOption<P>): PartAt<Output<S>, P> | undefined;
export function useSynced<S extends Schema, R>(key: Name, schema: S, options: SelectOption<(value: Output<S> | undefined) => R>): R;
export function useSynced(key: Name, schema?: Schema, options?: SelectOption<Path | ((value: never) => unknown)>): unknown {
  const store = useObject(key, schema);
  const part = options?.select;
  const at = typeof part === 'function' || part === undefined ? undefined : part;
  const selected = useSelected(
    at === undefined ? store ?? NOTHING : store?.select(at) ?? NOTHING,
    typeof part === 'function' ? part as (value: unknown) => unknown : undefined,
  );
  return useStore(selected);
}

/** The replica of the object `key`, for its events and its meta; nothing as long as there is no client. */
export function useSyncedReplica<S extends Schema>(key: Name, schema: S): Replica<Output<S>> | undefined;
export function useSyncedReplica<T = unknown>(key: Name, schema?: undefined): Replica<T> | undefined;
export function useSyncedReplica(key: Name, schema?: Schema): Replica<unknown> | undefined {
  return useStore(useObject(key, schema)?.handle ?? NOTHING);
}

/**
 * The records of a datastore, and the way to change them. Rows that did not change are the same objects, so components
 * in `memo` render only for those that did.
 *
 * The schema and the order are those of the first render with this id. A collection that the application made itself
 * stays its own.
 */
export function useCollection<S extends Schema>(id: Name, schema: S, options?: CollectionOptions<Output<S>>): CollectionView<Output<S>>;
export function useCollection<T = unknown>(id: Name, schema?: undefined, options?: CollectionOptions<T>): CollectionView<T>;
export function useCollection<T>(collection: Collection<T>): CollectionView<T>;
export function useCollection(
  what: Name | Collection<unknown>, schema?: Schema, { kind, primary, order }: CollectionOptions = {},
): CollectionView<unknown> {
  const scope = useContext(Context);
  const store = useMemo((): CollectionStore<unknown> => {
    if (what == null) return NO_COLLECTION;
    if (typeof what === 'object') return collectionStore(what);
    if (scope === undefined) throw invalid('there is no <TidewireProvider client={…}> above this component');
    return scope.collection(what, schema as undefined, { kind, primary, ...(order === undefined ? {} : { order }) });
  }, [scope, what, kind, primary]);
  return useStore(store);
}

/**
 * The fields of a merge pool, and the way to set them. With `presence`, what this client has set goes a moment after the
 * last component that shows the pool.
 */
export function usePool<S extends Schema>(id: Name, schema: S, options?: SharedPoolOptions): PoolView<Output<S>>;
export function usePool<T = unknown>(id: Name, schema?: undefined, options?: SharedPoolOptions): PoolView<T>;
export function usePool(id: Name, schema?: Schema, { create, presence }: SharedPoolOptions = {}): PoolView<unknown> {
  const scope = useScope();
  const store = useMemo(
    () => (id == null ? NO_POOL : scope.pool(id, schema as undefined, { create, presence })),
    [scope, id, create, presence],
  );
  return useStore(store);
}

/** The value of a replica that the application made, the rows of a collection, or the fields of a pool. */
export function useReplica<V>(replica: Source<V>): V {
  return useStore(valueStore(replica));
}

/**
 * A part of what a replica or collection shows: with a way such as `['DEU', 'name']` only that part is made. A function
 * is run on the whole value, and the component renders when its result is another one by `Object.is`.
 */
export function useSelect<T, const P extends Path>(replica: Replica<T> | undefined, part: P): PartAt<T, P> | undefined;
export function useSelect<T, const P extends Path>(
  collection: Collection<T> | undefined, part: P,
): PartAt<Readonly<Record<string, T>>, P> | undefined;
export function useSelect<V, R>(replica: Source<V>, part: (value: V) => R): R;
export function useSelect(replica: Source | undefined, part: Path | ((value: never) => unknown)): unknown {
  const pick = typeof part === 'function' ? part as (value: unknown) => unknown : undefined;
  const name = typeof part === 'function' ? undefined : JSON.stringify(part);
  const store = useMemo((): Store<unknown> => {
    if (replica === undefined) return NOTHING;
    return typeof part === 'function' ? valueStore(replica) : selectStore(replica, part);
  }, [replica, name]);
  return useStore(useSelected(store, pick));
}

/** Runs `pick` once per value, so that a render sees one result. */
function useSelected<V>(store: Store<V>, pick: ((value: V) => unknown) | undefined): Store<unknown> {
  return useMemo(() => {
    if (pick === undefined) return store;
    let last: { readonly value: V; readonly result: unknown } | undefined;
    const picked = (value: V): unknown => {
      if (last === undefined || !Object.is(last.value, value)) last = { value, result: pick(value) };
      return last.result;
    };
    return {
      subscribe: store.subscribe,
      getSnapshot: () => picked(store.getSnapshot()),
      getServerSnapshot: () => picked(store.getServerSnapshot()),
    };
  }, [store, pick]);
}

/** The state of the session or, with a replica or collection, where that one stands. */
export function useStatus(): ClientStatus;
export function useStatus(replica: Source): ReplicaMeta;
export function useStatus(replica: Source | undefined): ReplicaMeta | undefined;
export function useStatus(...replica: [Source?]): ClientStatus | ReplicaMeta | undefined {
  const scope = useContext(Context);
  if (replica.length === 0 && scope === undefined) throw invalid('there is no <TidewireProvider client={…}> above this component');
  const store: Store<ClientStatus | ReplicaMeta | undefined> = replica.length === 0 ? scope!.status
    : replica[0] === undefined ? NOTHING : metaStore(replica[0]);
  return useStore(store);
}
