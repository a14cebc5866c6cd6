// `tidewire/vue`: composables over the store contract, for Vue 3.
//
// Replicas are shared by all components of a client that show the same key, and let go a moment after the last of them
// has left. Values are in shallow refs: Vue puts no proxies around them, so what did not change stays the same object.

import {
  type App, computed, type ComputedRef, getCurrentInstance, hasInjectionContext, inject, type InjectionKey, type MaybeRefOrGetter,
  onMounted, type Plugin, provide, type ShallowRef, shallowRef, ssrContextKey, toValue, watch,
} from 'vue';
import type { Client, ClientStatus } from './client.js';
import type { Collection } from './collection.js';
import { invalid } from './errors.js';
import type { Pool } from './pool.js';
import type { Replica, ReplicaMeta } from './replica.js';
import type { Output, Schema } from './schema.js';
import {
  type CollectionOptions, type CollectionStore, collectionStore, type CollectionView, metaStore, NO_COLLECTION, NO_POOL, NOTHING,
  type PoolView, type Scope, scopeOf, type ScopeOptions, selectStore, type SharedPoolOptions, type Source, type Store, valueStore,
} from './store/index.js';
import type { Path, PartAt } from './value/path.js';

export type { CollectionOptions, CollectionView, PoolView, SharedPoolOptions } from './store/index.js';

/** The name of something to show. None, as long as it is not known: then nothing is asked for. */
export type Name = string | null | undefined;

/** A value of the store, as a ref that cannot be set. */
export type Shown<V> = Readonly<ShallowRef<V>>;

const KEY: InjectionKey<Scope> = Symbol.for('tidewire.vue');

/**
 * A plugin that gives the components of an app a client, or the promise of one, and what the page was rendered from.
 *
 * On a server that renders, give it the `state` alone, in an app of its own for each request. In the browser give it
 * both: the first render is that of the server, and the subscriptions go on from there.
 */
export function createTidewire(options: ScopeOptions): Plugin {
  return { install: (app: App) => void app.provide(KEY, scopeOf(options)) };
}

/** As {@link createTidewire}, for the components below this one. */
export function provideTidewire(options: ScopeOptions): void {
  provide(KEY, scopeOf(options));
}

function useScope(): Scope {
  const scope = inject(KEY, undefined);
  if (scope === undefined) throw invalid('there is no client here: call `app.use(createTidewire({ client }))` first');
  return scope;
}

/** What the store of the moment shows, until the component or scope that asked is gone. */
function useStore<V>(store: () => Store<V>): Shown<V> {
  // Rendering on a server: nothing will change, and nobody would end a subscription.
  if (hasInjectionContext() && inject(ssrContextKey, undefined) !== undefined) return shallowRef(store().getServerSnapshot());
  const value = shallowRef() as ShallowRef<V>;
  // A component that takes over what a server has rendered has its element already, and first has to render the same.
  let isHydrating = Boolean(getCurrentInstance()?.vnode.el);
  let update = (): void => {};
  watch(store, ({ getSnapshot, getServerSnapshot, subscribe }, _, onCleanup) => {
    update = () => { value.value = isHydrating ? getServerSnapshot() : getSnapshot(); };
    update();
    onCleanup(subscribe(() => update()));
  }, { immediate: true, flush: 'sync' });
  if (isHydrating) {
    onMounted(() => {
      isHydrating = false;
      update();
    });
  }
  return value;
}

/** The client; nothing as long as it is only promised. */
export function useClient(): Shown<Client | undefined> {
  const { client } = useScope();
  return useStore(() => client);
}

/** The object `key`: `undefined` before its first value and after its deletion. */
export function useSynced<S extends Schema>(key: MaybeRefOrGetter<Name>, schema: S): Shown<Output<S> | undefined>;
export function useSynced<T = unknown>(key: MaybeRefOrGetter<Name>, schema?: undefined): Shown<T | undefined>;
export function useSynced(key: MaybeRefOrGetter<Name>, schema?: Schema): Shown<unknown> {
  const scope = useScope();
  return useStore((): Store<unknown> => {
    const name = toValue(key);
    return name == null ? NOTHING : scope.synced(name, schema as undefined);
  });
}

/** The replica of the object `key`, for its events and its meta; nothing as long as there is no client. */
export function useSyncedReplica<S extends Schema>(key: MaybeRefOrGetter<Name>, schema: S): Shown<Replica<Output<S>> | undefined>;
export function useSyncedReplica<T = unknown>(key: MaybeRefOrGetter<Name>, schema?: undefined): Shown<Replica<T> | undefined>;
export function useSyncedReplica(key: MaybeRefOrGetter<Name>, schema?: Schema): Shown<Replica<unknown> | undefined> {
  const scope = useScope();
  return useStore((): Store<Replica<unknown> | undefined> => {
    const name = toValue(key);
    return name == null ? NOTHING : scope.synced(name, schema as undefined).handle;
  });
}

/** What {@link useCollection} returns: take it apart, so that templates unwrap the refs. */
export interface CollectionRefs<T> extends Pick<CollectionView<T>, 'set' | 'delete'> {
  /** All records in the order of their last change. The array, and each record, is the same until it changes. */
  readonly rows: ComputedRef<readonly T[]>;
  /** Whether these are the authority's rows, and not the emptiness before them. */
  readonly isReady: ComputedRef<boolean>;
  /** The live collection; none as long as there is no client. */
  readonly collection: ComputedRef<Collection<T> | undefined>;
}

/** The records of a datastore, and the way to change them. A collection that the application made stays its own. */
export function useCollection<S extends Schema>(id: MaybeRefOrGetter<Name>, schema: S, options?: CollectionOptions<Output<S>>): CollectionRefs<Output<S>>;
export function useCollection<T = unknown>(id: MaybeRefOrGetter<Name>, schema?: undefined, options?: CollectionOptions<T>): CollectionRefs<T>;
export function useCollection<T>(collection: Collection<T>): CollectionRefs<T>;
export function useCollection(
  what: MaybeRefOrGetter<Name> | Collection<unknown>, schema?: Schema, options?: CollectionOptions,
): CollectionRefs<unknown> {
  const store = isCollection(what) ? always(collectionStore(what)) : named(useScope(), what, schema, options);
  const view = useStore<CollectionView<unknown>>(store);
  return {
    rows: computed(() => view.value.rows),
    isReady: computed(() => view.value.isReady),
    collection: computed(() => view.value.collection),
    set: (value) => view.value.set(value),
    delete: (key) => view.value.delete(key),
  };
}

const always = <V>(store: Store<V>) => (): Store<V> => store;

function named(
  scope: Scope, id: MaybeRefOrGetter<Name>, schema: Schema | undefined, options: CollectionOptions | undefined,
): () => Store<CollectionView<unknown>> {
  return () => {
    const name = toValue(id);
    return name == null ? NO_COLLECTION : scope.collection(name, schema as undefined, options) as CollectionStore<unknown>;
  };
}

function isCollection(what: MaybeRefOrGetter<Name> | Collection<unknown>): what is Collection<unknown> {
  return typeof what === 'object' && what !== null && 'peekRows' in what;
}

/** What {@link usePool} returns: take it apart, so that templates unwrap the refs. */
export interface PoolRefs<T> extends Pick<PoolView<T>, 'set' | 'delete'> {
  /** All fields. The object, and each value, is the same until it changes. */
  readonly fields: ComputedRef<Readonly<Record<string, T>>>;
  /** Whether these are the pool's fields, and not the emptiness before them. */
  readonly isReady: ComputedRef<boolean>;
  /** The live pool; none as long as there is no client. */
  readonly pool: ComputedRef<Pool<T> | undefined>;
}

/**
 * The fields of a merge pool, and the way to set them. With `presence`, what this client has set goes a moment after the
 * last component that shows the pool.
 */
export function usePool<S extends Schema>(id: MaybeRefOrGetter<Name>, schema: S, options?: SharedPoolOptions): PoolRefs<Output<S>>;
export function usePool<T = unknown>(id: MaybeRefOrGetter<Name>, schema?: undefined, options?: SharedPoolOptions): PoolRefs<T>;
export function usePool(id: MaybeRefOrGetter<Name>, schema?: Schema, options?: SharedPoolOptions): PoolRefs<unknown> {
  const scope = useScope();
  const view = useStore<PoolView<unknown>>(() => {
    const name = toValue(id);
    return name == null ? NO_POOL : scope.pool(name, schema as undefined, options);
  });
  return {
    fields: computed(() => view.value.fields),
    isReady: computed(() => view.value.isReady),
    pool: computed(() => view.value.pool),
    set: (fields) => view.value.set(fields),
    delete: (field) => view.value.delete(field),
  };
}

/** The value of a replica that the application made, the rows of a collection, or the fields of a pool. */
export function useReplica<V>(replica: Source<V>): Shown<V> {
  return useStore(() => valueStore(replica));
}

/** A part of what a replica or collection shows; only that part is made. */
export function useSelect<T, const P extends Path>(
  replica: MaybeRefOrGetter<Replica<T> | undefined>, part: P,
): Shown<PartAt<T, P> | undefined>;
export function useSelect<T, const P extends Path>(
  collection: MaybeRefOrGetter<Collection<T> | undefined>, part: P,
): Shown<PartAt<Readonly<Record<string, T>>, P> | undefined>;
export function useSelect(replica: MaybeRefOrGetter<Source | undefined>, part: Path): Shown<unknown> {
  return useStore((): Store<unknown> => {
    const source = toValue(replica);
    return source === undefined ? NOTHING : selectStore(source, part);
  });
}

/** The state of the session or, with a replica or collection, where that one stands. */
export function useStatus(): Shown<ClientStatus>;
export function useStatus(replica: MaybeRefOrGetter<Source | undefined>): Shown<ReplicaMeta | undefined>;
export function useStatus(...replica: [MaybeRefOrGetter<Source | undefined>?]): Shown<ClientStatus | ReplicaMeta | undefined> {
  if (replica.length === 0) {
    const { status } = useScope();
    return useStore<ClientStatus | ReplicaMeta | undefined>(() => status);
  }
  return useStore((): Store<ReplicaMeta | undefined> => {
    const source = toValue(replica[0]);
    return source === undefined ? NOTHING : metaStore(source);
  });
}
