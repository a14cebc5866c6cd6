// What an adapter puts into the context of a tree of components: a client that is there, is about to be or, on a server
// that renders, never will be; what the page was rendered from; and the replicas that the components share.

import type { Client, ClientStatus } from '../client.js';
import type { Collection, DatastoreOptions } from '../collection.js';
import { invalid, TidewireError } from '../errors.js';
import type { Pool, PoolOptions } from '../pool.js';
import type { Replica } from '../replica.js';
import { type Output, runner, type Schema } from '../schema.js';
import { checkState, type DehydratedDatastore, type DehydratedObject, type DehydratedState } from '../state.js';
import { fromJson } from '../value/json.js';
import type { Path } from '../value/path.js';
import { Shared } from './shared.js';
import { CONNECTING, isEqual, NOTHING, Selection, type Source, statusStore, type Store } from './store.js';

/** What to give to a tree of components. */
export interface ScopeOptions {
  /**
   * The client, or the promise of one. On a server that renders there is none: then everything comes from `state`, and
   * no request can see what another one loaded.
   */
  client?: Client | PromiseLike<Client> | undefined;
  /** What the page was rendered from, or is to be. */
  state?: DehydratedState | undefined;
}

/** How to open a datastore, and in which order to show it: components share one where all of that is the same. */
export type CollectionOptions<T = unknown> = Pick<DatastoreOptions<T>, 'kind' | 'primary' | 'order'>;

/** How to open a pool. */
export type SharedPoolOptions = Pick<PoolOptions, 'create' | 'presence'>;

/** An object, shared by all who show it under the same schema. */
export interface ObjectStore<T> extends Store<T | undefined> {
  /** The replica; none as long as there is no client. */
  readonly replica: Replica<T> | undefined;
  /** The replica itself, over time. */
  readonly handle: Store<Replica<T> | undefined>;
  /** A part of it. */
  select(part: Path): Store<unknown>;
}

/** What is shown of a datastore. It is another object whenever rows, readiness or collection changed. */
export interface CollectionView<T> {
  /** All records, in the order of their last change or as `order` says. The array, and each record, is the same until it changes. */
  readonly rows: readonly T[];
  /** Whether these are the authority's rows, and not the emptiness before them. */
  readonly isReady: boolean;
  /** The live collection; none as long as there is no client. */
  readonly collection: Collection<T> | undefined;
  /** Inserts or replaces a record, as soon as there is a client. Resolves when it is durable and shown here. */
  readonly set: (value: T) => Promise<void>;
  /** Deletes a record, as soon as there is a client. Resolves when that is durable and shown here. */
  readonly delete: (key: string) => Promise<void>;
}

/** What is shown of a merge pool. It is another object whenever fields, readiness or pool changed. */
export interface PoolView<T> {
  /** All fields. The object, and each value, is the same until it changes. */
  readonly fields: Readonly<Record<string, T>>;
  /** Whether these are the pool's fields, and not the emptiness before them. */
  readonly isReady: boolean;
  /** The live pool; none as long as there is no client. */
  readonly pool: Pool<T> | undefined;
  /** Sets fields, as soon as there is a client; `null` takes one away. Resolves when that is done and shown here. */
  readonly set: (fields: Readonly<Record<string, T | null>>) => Promise<void>;
  /** Takes a field away. */
  readonly delete: (field: string) => Promise<void>;
}

/** A merge pool, shared by all who show it under the same schema. */
export interface PoolStore<T> extends Store<PoolView<T>> {
  /** The pool; none as long as there is no client. */
  readonly replica: Pool<T> | undefined;
}

/** A datastore, shared by all who show it under the same schema. */
export interface CollectionStore<T> extends Store<CollectionView<T>> {
  /** The collection; none as long as there is no client. */
  readonly replica: Collection<T> | undefined;
}

const NO_ROWS: readonly never[] = Object.freeze([]);

/** The collection of an id that is not known yet. */
export const NO_COLLECTION: CollectionStore<unknown> = (() => {
  const refuse = (): Promise<never> => Promise.reject(invalid('this collection has no id yet'));
  const view: CollectionView<unknown> = { rows: NO_ROWS, isReady: false, collection: undefined, set: refuse, delete: refuse };
  return { replica: undefined, subscribe: NOTHING.subscribe, getSnapshot: () => view, getServerSnapshot: () => view };
})();

const NO_FIELDS: Readonly<Record<string, never>> = Object.freeze({});

/** The pool of an id that is not known yet. */
export const NO_POOL: PoolStore<unknown> = (() => {
  const refuse = (): Promise<never> => Promise.reject(invalid('this pool has no id yet'));
  const view: PoolView<unknown> = { fields: NO_FIELDS, isReady: false, pool: undefined, set: refuse, delete: refuse };
  return { replica: undefined, subscribe: NOTHING.subscribe, getSnapshot: () => view, getServerSnapshot: () => view };
})();

/** Each page of an application may bring one, and it matters until its components are there. */
const MAX_STATES = 16;

const scopes = new WeakMap<object, Scope>();

/** The scope of a client, the same one wherever it is asked for; without a client, a new one that nothing else shares. */
export function scopeOf({ client, state }: ScopeOptions): Scope {
  let scope = client && scopes.get(client);
  if (scope === undefined) {
    scope = new Scope(client);
    if (client !== undefined) scopes.set(client, scope);
  }
  if (state !== undefined) scope.hydrate(state);
  return scope;
}

/** The replicas that components share, by key and schema. Made by {@link scopeOf}. */
export class Scope {
  readonly #entries = new Map<string, Map<Schema | undefined, Entry>>();
  readonly #states: DehydratedState[] = [];
  readonly #served = new Map<string, Map<Schema | undefined, unknown>>();
  readonly #arrival: Promise<Client> | undefined;
  readonly #waiting = new Set<() => void>();
  #client: Client | undefined;
  /** Why there will be no client. */
  #failure: ClientStatus | undefined;

  /** @internal */
  constructor(client: ScopeOptions['client']) {
    if (client === undefined) return;
    if (!isPromise(client)) {
      this.#client = client;
      this.#arrival = Promise.resolve(client);
      return;
    }
    this.#arrival = Promise.resolve(client);
    this.#arrival.then((arrived) => this.#arrive(arrived), (error: unknown) => this.#fail(error));
  }

  /** The client, if it is there. */
  readonly client: Store<Client | undefined> = {
    subscribe: (onChange) => this.#wait(onChange),
    getSnapshot: () => this.#client,
    getServerSnapshot: () => undefined,
  };

  /** The state of the session. */
  readonly status: Store<ClientStatus> = {
    subscribe: (onChange) => {
      let end = this.#client && statusStore(this.#client).subscribe(onChange);
      const wait = this.#wait(() => {
        end ??= this.#client && statusStore(this.#client).subscribe(onChange);
        onChange();
      });
      return () => {
        wait();
        end?.();
      };
    },
    getSnapshot: () => (this.#client ? statusStore(this.#client).getSnapshot() : this.#failure ?? CONNECTING),
    getServerSnapshot: () => CONNECTING,
  };

  /** Resolves with the client. Rejects where there will be none. */
  async arrived(): Promise<Client> {
    if (this.#arrival !== undefined) return this.#arrival;
    throw new TidewireError('closed', 'there is no client here: this tree was given a dehydrated state alone');
  }

  /** Takes what a page was rendered from. The same state again changes nothing. */
  hydrate(state: DehydratedState): void {
    if (this.#states.includes(state)) return;
    checkState(state);
    this.#states.unshift(state);
    this.#states.length = Math.min(this.#states.length, MAX_STATES);
    this.#served.clear();
    this.#client?.hydrate(state);
  }

  /** An object. */
  synced<S extends Schema>(key: string, schema: S): ObjectStore<Output<S>>;
  synced<T = unknown>(key: string, schema?: undefined): ObjectStore<T>;
  synced(key: string, schema?: Schema): ObjectStore<unknown> {
    const make = (client: Client): Replica<unknown> => client.synced(key, schema as undefined);
    return new Sharing<unknown, Replica<unknown>>(this, `object ${key}`, schema, make, (replica) => replica.peek(), () => this.#object(key, schema));
  }

  /** A datastore. */
  collection<S extends Schema>(id: string, schema: S, options?: CollectionOptions<Output<S>>): CollectionStore<Output<S>>;
  collection<T = unknown>(id: string, schema?: undefined, options?: CollectionOptions<T>): CollectionStore<T>;
  collection(id: string, schema?: Schema, { kind, primary, order }: CollectionOptions = {}): CollectionStore<unknown> {
    const name = `datastore ${JSON.stringify([kind, primary, order && numberOf(order)])} ${id}`;
    const options = { kind, primary, ...(order === undefined ? {} : { order }) };
    const view = viewer<CollectionView<unknown>>();
    const store: Sharing<CollectionView<unknown>, Collection<unknown>> = new Sharing(
      this, name, schema, (client) => client.datastore(id, schema as undefined, options),
      (collection) => view({ rows: collection.peekRows(), isReady: hasValue(collection), collection, set, delete: remove }),
      () => {
        const rows = this.#rows(id, schema, order);
        return view({ rows: rows ?? NO_ROWS, isReady: rows !== undefined, collection: undefined, set, delete: remove });
      },
    );
    const set = async (value: unknown): Promise<void> => (await store.opened()).set(value);
    const remove = async (key: string): Promise<void> => (await store.opened()).delete(key);
    return store;
  }

  /** A merge pool. */
  pool<S extends Schema>(id: string, schema: S, options?: SharedPoolOptions): PoolStore<Output<S>>;
  pool<T = unknown>(id: string, schema?: undefined, options?: SharedPoolOptions): PoolStore<T>;
  pool(id: string, schema?: Schema, { create, presence }: SharedPoolOptions = {}): PoolStore<unknown> {
    const view = viewer<PoolView<unknown>>();
    const store: Sharing<PoolView<unknown>, Pool<unknown>> = new Sharing(
      this, `pool ${JSON.stringify([create, presence])} ${id}`, schema,
      (client) => client.pool(id, schema as undefined, { create, presence }),
      (pool) => view({ fields: pool.peekFields(), isReady: hasValue(pool), pool, set, delete: remove }),
      () => view({ fields: NO_FIELDS, isReady: false, pool: undefined, set, delete: remove }),
    );
    const set = async (fields: Readonly<Record<string, unknown>>): Promise<void> => (await store.opened()).set(fields);
    const remove = async (field: string): Promise<void> => (await store.opened()).delete(field);
    return store;
  }

  /** @internal The shared replica under a name, made by the first who asks. */
  entry(name: string, schema: Schema | undefined, make: Make): Entry {
    let bySchema = this.#entries.get(name);
    if (bySchema === undefined) this.#entries.set(name, (bySchema = new Map()));
    let entry = bySchema.get(schema);
    if (entry === undefined) {
      entry = new Entry(() => this.#client && opened(this.#client, make), () => this.#forget(name, schema));
      bySchema.set(schema, entry);
    }
    return entry;
  }

  /** @internal The shared replica under a name, if there is one. */
  known(name: string, schema: Schema | undefined): Entry | undefined {
    return this.#entries.get(name)?.get(schema);
  }

  /** @internal Whether there can be replicas. */
  get hasClient(): boolean {
    return this.#client !== undefined;
  }

  #forget(name: string, schema: Schema | undefined): void {
    const bySchema = this.#entries.get(name);
    bySchema?.delete(schema);
    if (bySchema?.size === 0) this.#entries.delete(name);
  }

  #wait(onChange: () => void): () => void {
    const own = (): void => onChange();
    this.#waiting.add(own);
    return () => void this.#waiting.delete(own);
  }

  #arrive(client: Client): void {
    this.#client = client;
    if (!scopes.has(client)) scopes.set(client, this);
    for (const state of [...this.#states].reverse()) client.hydrate(state);
    for (const bySchema of [...this.#entries.values()]) for (const entry of bySchema.values()) entry.begin();
    for (const each of [...this.#waiting]) each();
  }

  #fail(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const known = error instanceof TidewireError ? error : undefined;
    this.#failure = { state: 'closed', error: known ?? new TidewireError('init_failed', `there is no client: ${reason}`, { cause: error }) };
    for (const each of [...this.#waiting]) each();
  }

  #object(key: string, schema: Schema | undefined): unknown {
    return this.#serve(`object ${key}`, schema, () => {
      const object = this.#find<DehydratedObject>((state) => state.objects, key);
      const verdict = object && 'value' in object ? accept(schema, object.value) : undefined;
      return verdict?.ok ? verdict.value : undefined;
    });
  }

  #rows(id: string, schema: Schema | undefined, order: CollectionOptions['order']): readonly unknown[] | undefined {
    return this.#serve(`datastore ${order && numberOf(order)} ${id}`, schema, () => {
      const datastore = this.#find<DehydratedDatastore>((state) => state.datastores, id);
      const rows = datastore?.rows.flatMap(([, , value]) => {
        const verdict = accept(schema, value);
        return verdict.ok ? [verdict.value] : [];
      });
      return order === undefined ? rows : rows?.sort(order as (one: unknown, other: unknown) => number);
    });
  }

  #find<T>(part: (state: DehydratedState) => { readonly [key: string]: T }, key: string): T | undefined {
    const state = this.#states.find((each) => Object.hasOwn(part(each), key));
    return state && part(state)[key];
  }

  /** Made once, so that whoever renders twice renders the same objects. */
  #serve<T>(name: string, schema: Schema | undefined, make: () => T): T {
    let bySchema = this.#served.get(name);
    if (bySchema === undefined) this.#served.set(name, (bySchema = new Map()));
    if (!bySchema.has(schema)) bySchema.set(schema, make());
    return bySchema.get(schema) as T;
  }
}

type Shareable = Pick<Source, 'select' | 'on' | 'peekMeta'> & { dispose(): void };

type Make = (client: Client) => Shareable;

/** A closed client has nothing new to show; all other errors are the caller's to hear. */
function opened(client: Client, make: Make): Shareable | undefined {
  try {
    return make(client);
  } catch (error) {
    if (error instanceof TidewireError && error.code === 'closed') return undefined;
    throw error;
  }
}

/** A replica, while anybody shows it. */
class Entry extends Shared {
  readonly #make: () => Shareable | undefined;
  readonly #forget: () => void;
  #end: (() => void) | undefined;
  replica: Shareable | undefined;

  constructor(make: () => Shareable | undefined, forget: () => void) {
    super();
    this.#make = make;
    this.#forget = forget;
  }

  /** The client has come. Why there is no replica all the same is told to whoever looks. */
  begin(): void {
    try {
      this.open();
    } catch {
      // The next look throws it again.
    }
    this.notify();
  }

  override touch(): void {
    super.touch();
    this.open();
  }

  /** Makes the replica, if there is none and there can be one. */
  protected open(): void {
    if (this.replica !== undefined) return;
    this.replica = this.#make();
    this.#end = this.replica?.on('change', () => this.notify());
  }

  protected close(): void {
    this.#end?.();
    this.replica?.dispose();
    this.replica = this.#end = undefined;
    this.#forget();
  }
}

/** What one component holds of an entry: entries come and go with their users. */
class Sharing<V, R extends Shareable> implements Store<V> {
  readonly #selections = new Map<string, Selection>();

  constructor(
    private readonly scope: Scope, private readonly name: string, private readonly schema: Schema | undefined,
    private readonly make: (client: Client) => R, private readonly read: (replica: R) => V, private readonly served: () => V,
  ) {}

  get replica(): R | undefined {
    return this.scope.known(this.name, this.schema)?.replica as R | undefined;
  }

  readonly subscribe = (onChange: () => void): (() => void) => this.#entry.retain(onChange);

  readonly getSnapshot = (): V => {
    const replica = this.#opened();
    return replica === undefined ? this.served() : this.read(replica);
  };

  readonly getServerSnapshot = (): V => this.served();

  readonly handle: Store<R | undefined> = {
    subscribe: (onChange) => this.subscribe(onChange),
    getSnapshot: () => this.#opened(),
    getServerSnapshot: () => undefined,
  };

  select(part: Path): Store<unknown> {
    const name = JSON.stringify(part);
    let selection = this.#selections.get(name);
    if (selection === undefined) this.#selections.set(name, (selection = new Selection(this, part)));
    return selection;
  }

  /** The replica, once there is a client. */
  async opened(): Promise<R> {
    await this.scope.arrived();
    const replica = this.#opened();
    if (replica === undefined) throw new TidewireError('closed', 'the client is closed');
    return replica;
  }

  #opened(): R | undefined {
    if (!this.scope.hasClient) return undefined;
    const entry = this.#entry;
    entry.touch();
    return entry.replica as R | undefined;
  }

  get #entry(): Entry {
    return this.scope.entry(this.name, this.schema, this.make);
  }
}

const hasValue = (replica: Pick<Source, 'peekMeta'>): boolean => replica.peekMeta().sequence >= 0;

const numbers = new WeakMap<object, number>();
let lastNumber = 0;

/** A number for a function, the same one for the same function. */
function numberOf(order: object): number {
  let number = numbers.get(order);
  if (number === undefined) numbers.set(order, (number = ++lastNumber));
  return number;
}

/** Passes views on: the one before for as long as it says the same. */
function viewer<V extends object>(): (view: V) => V {
  let last: V | undefined;
  return (view) => {
    if (last === undefined || !isEqual(last, view)) last = view;
    return last;
  };
}

const views = new WeakMap<Collection<unknown>, CollectionStore<unknown>>();

/** A collection that the application made, and disposes of, in the form of a shared one. */
export function collectionStore<T>(collection: Collection<T>): CollectionStore<T> {
  const known = views.get(collection as unknown as Collection<unknown>) as CollectionStore<T> | undefined;
  if (known !== undefined) return known;
  const view = viewer<CollectionView<T>>();
  const { set, delete: remove } = collection;
  const getSnapshot = (): CollectionView<T> => (
    view({ rows: collection.peekRows(), isReady: hasValue(collection), collection, set, delete: remove })
  );
  const subscribe = (onChange: () => void): (() => void) => collection.on('change', onChange);
  const store: CollectionStore<T> = { replica: collection, subscribe, getSnapshot, getServerSnapshot: getSnapshot };
  views.set(collection as unknown as Collection<unknown>, store as unknown as CollectionStore<unknown>);
  return store;
}

/** What a schema makes of a value of a state. A JSON Schema changes none, and the page's server has asked it. */
function accept(schema: Schema | undefined, json: unknown): { readonly ok: true; readonly value: unknown } | { readonly ok: false } {
  const value = fromJson(json);
  const gate = schema && runner(schema);
  return gate === undefined ? { ok: true, value } : gate(value);
}

function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as Partial<PromiseLike<T>>).then === 'function';
}
