// A client: one session with a server, over one link at a time.

import { type Collection, DatastoreCollection, type DatastoreOptions, RowsReplica } from './collection.js';
import { Lazy, signalCell } from './cell.js';
import { Ask, type Link, LinkFact, Target, Text, Write } from './core.js';
import { type Environment, page } from './environment.js';
import { badKey, closed, closure, invalid, textOf, TidewireError } from './errors.js';
import { type Inbox, notify, type NotifyOptions, SessionInbox } from './inbox.js';
import { init } from './init.js';
import { type KvGroup, SessionKv } from './kv.js';
import { type Pool, PoolReplica, type PoolOptions } from './pool.js';
import { BaseReplica, type Replica } from './replica.js';
import { report, Runtime } from './runtime.js';
import { compileGate, type Gate, type Output, type Schema } from './schema.js';
import { type DehydratedState, merged, plant, Seeds } from './state.js';
import { SyncedReplica, type SyncedOptions } from './synced.js';
import { checkKey } from './value/encode.js';
import { message } from './value/message.js';

/** Something that gives links to a server: the reference server in the page. */
export interface LinkSource {
  link(): Link;
  /** Where time and chance are not the page's: those of the clients of this source. */
  readonly environment?: Environment | undefined;
}

/** A class like the browser's `WebSocket`, for environments without one. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  close(): void;
};

/** Why a token is asked for. After `refused` the same one again ends the session. */
export type TokenReason = 'connect' | 'expiring' | 'refused';

/** How to connect. */
export interface ConnectOptions {
  /**
   * Proof of who is calling, or a function that fetches it: before every connection, when the one in use is about to
   * expire, and once more after one was refused. A fetch that fails, or takes longer than 10 s, is tried again after a
   * backoff.
   */
  token?: string | ((reason: TokenReason) => string | Promise<string>) | undefined;
  /** The class to open WebSockets with. Default: the global one. */
  WebSocket?: WebSocketClass | undefined;
  /** What to begin with, as {@link Client.hydrate} takes it. */
  state?: DehydratedState | undefined;
}

/** The state of a client's session. What is shown stays readable in all of them. */
export type ClientStatus =
  | { readonly state: 'connecting' }
  | {
    readonly state: 'live';
    /** Which of the addresses that `connect` was given; `null` for the server in the page. */
    readonly address: string | null;
  }
  | {
    readonly state: 'reconnecting';
    /** Why the last link ended, for people. */
    readonly reason: string;
    /** When the next attempt is due, as `Date.now()` counts; `null` if one is under way. */
    readonly nextAttemptAt: number | null;
  }
  /** The browser says that there is no network; the session resumes as soon as there is. */
  | { readonly state: 'offline' }
  | {
    readonly state: 'closed';
    /** Why, unless `close()` was called. */
    readonly error: TidewireError | null;
  };

/** One session with a server. */
export interface Client {
  /** The state of the session (a tracked read). */
  status(): ClientStatus;
  /** The state of the session (an untracked read). */
  peekStatus(): ClientStatus;
  /** The replica of one object. */
  synced<S extends Schema>(key: string, schema: S, options?: SyncedOptions<Output<S>>): Replica<Output<S>>;
  synced<T = unknown>(key: string, schema?: undefined, options?: SyncedOptions<T>): Replica<T>;
  /** The replica of a datastore. */
  datastore<S extends Schema>(id: string, schema: S, options?: DatastoreOptions<Output<S>>): Collection<Output<S>>;
  datastore<T = unknown>(id: string, schema?: undefined, options?: DatastoreOptions<T>): Collection<T>;
  /** The replica of a merge pool, a map of fields that all its members write to. */
  pool<S extends Schema>(id: string, schema: S, options?: PoolOptions): Pool<Output<S>>;
  pool<T = unknown>(id: string, schema?: undefined, options?: PoolOptions): Pool<T>;
  /** Puts a notification into the mailbox of a user. Resolves with its trace when it is durable at the server. */
  notify(to: string, pack: unknown, options?: NotifyOptions): Promise<string>;
  /** The mailbox of this client's user. */
  readonly inbox: Inbox;
  /** One group of the kv store; `'*'` stands for all of them, to watch. */
  kv(group: string): KvGroup;
  /** Sets an object. Resolves when it is durable at the server and, where it is synced, shown here. */
  put(key: string, value: unknown): Promise<void>;
  /** Deletes an object. Resolves when that is durable at the server and, where it is synced, shown here. */
  delete(key: string): Promise<void>;
  /** What all replicas show that have a value: values and positions, as plain JSON. */
  dehydrate(): DehydratedState;
  /**
   * Has the replicas that are made from now on begin with what was shown elsewhere. Each shows its value at once, if it
   * passes the schema, and asks the server only for what came after it.
   *
   * @throws TidewireError `invalid_argument` for what is no such state.
   */
  hydrate(state: DehydratedState): void;
  /** Ends the session. What is shown stays readable. */
  close(): void;
  [Symbol.dispose](): void;
}

/** The numbers of the core. */
const TOKEN_REASONS: readonly TokenReason[] = ['connect', 'expiring', 'refused'];

const SUBPROTOCOL = 'tidewire.v1.msgpack';

/** Where to connect: one address, those of several servers that are one service, or the reference server of this page. */
export type ConnectTarget = string | URL | readonly (string | URL)[] | LinkSource;

/**
 * Starts a session with the server at `target`.
 *
 * Several addresses, those of the nodes of one service, it takes in an order of its own, the next one after every attempt
 * that failed and every connection that was lost, as soon as the backoff lets it. Replicas resume there, and a write that
 * was not answered is sent again and done once.
 *
 * Resolves as soon as the client can be used; `status()` tells when it is live. Writes before that wait for it.
 *
 * @throws TidewireError `invalid_argument` for a URL that is none, `init_failed` if the WebAssembly cannot be loaded.
 */
export async function connect(target: ConnectTarget, options: ConnectOptions = {}): Promise<Client> {
  const dialer = dialerOf(target, options);
  await init();
  const client = new SessionClient(dialer, options.token);
  if (options.state !== undefined) client.hydrate(options.state);
  return client;
}

interface Dialer {
  readonly environment?: Environment | undefined;
  /** Where the last link was opened to. */
  address: string | null;
  /** How many addresses are dialed in turn. */
  addresses: number;
  dial(): Link;
}

function dialerOf(target: ConnectTarget, options: ConnectOptions): Dialer {
  if (typeof target === 'object' && 'link' in target) {
    return { environment: target.environment, address: null, addresses: 1, dial: () => target.link() };
  }
  const given = (Array.isArray(target) ? target : [target]).map(address);
  if (given.length === 0) throw invalid('connect: there is no address in the list; name one server at least');
  const Socket = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
  if (typeof Socket !== 'function') {
    throw invalid("connect: there is no WebSocket here; pass one, such as `import { WebSocket } from 'ws'` and `connect(url, { WebSocket })`");
  }
  // Each client in an order of its own, so that those of a server that dies spread over all others.
  const lots = new Uint32Array(page.randomBytes(4 * given.length).buffer);
  const urls = given.map((_, i) => i).sort((a, b) => lots[a]! - lots[b]!).map((i) => given[i]!);
  let next = 0;
  return {
    address: null,
    addresses: urls.length,
    dial() {
      const url = urls[next]!;
      this.address = url;
      next = (next + 1) % urls.length;
      const link = new Socket(url, [SUBPROTOCOL]) as unknown as Link;
      // Every failure is told by `onclose` too; Node's sockets end the process over an error that nobody hears.
      link.onerror = () => {};
      return link;
    },
  };
}

function address(target: string | URL): string {
  // Of a setting that is not there, or a promise, a browser would make an address beside the page's.
  const text = typeof target === 'string' || target instanceof URL ? String(target) : '';
  try {
    const url = new URL(text, text ? globalThis.location?.href : undefined);
    url.protocol = url.protocol.replace(/^http/, 'ws');
    url.hash = '';
    if (/^wss?:$/.test(url.protocol)) return url.href;
  } catch {
    // Said below, in the same words.
  }
  throw invalid(`connect: ${JSON.stringify(String(target))} is no URL of a server; it looks like wss://example.org/v1/sync`);
}

/** @internal What other modules build on; throws if `client` is closed, or none. */
export let runtimeOf: (client: Client) => Runtime;

class SessionClient implements Client {
  static {
    runtimeOf = (client) => {
      if (typeof client !== 'object' || client === null || !(#runtime in client)) throw invalid('this is no client of this copy of the package; `connect` makes one');
      return client.#open();
    };
  }

  readonly #runtime: Runtime;
  readonly #status: Lazy<ClientStatus>;
  readonly #unlisten: () => void;
  readonly #dialer: Dialer;
  #inbox: SessionInbox | undefined;
  #seeds: Seeds | undefined;
  #closed = false;

  constructor(dialer: Dialer, token: ConnectOptions['token']) {
    this.#dialer = dialer;
    const isAsked = typeof token === 'function';
    const runtime = (this.#runtime = new Runtime(isAsked ? undefined : token ?? undefined, dialer.environment));
    this.#status = new Lazy(signalCell, () => this.#readStatus());
    runtime.watchLink({
      isDue: false,
      take: () => this.#status.expire(),
      show: () => this.#status.announce(),
      raise: report,
      save() {},
      revive() {},
    });
    this.#unlisten = listen(() => runtime.input(() => runtime.core.ask(Ask.Nudge)), () => this.#announceStatus());
    runtime.open(() => dialer.dial(), dialer.addresses, isAsked ? (link, reason) => {
      const tell = (ok: boolean, text: string): void => runtime.input(() => runtime.core.ask(Ask.Token, link, ok, runtime.memory.put(text)));
      // In a microtask: users' code never runs inside the core.
      void Promise.resolve(TOKEN_REASONS[reason]!).then(token).then(
        (text) => typeof text === 'string' ? tell(true, text) : tell(false, 'no token came: the function gave no string'),
        (error: unknown) => tell(false, `no token came: ${textOf(error)}`),
      );
    } : undefined);
  }

  status(): ClientStatus {
    return this.#status.get();
  }

  peekStatus(): ClientStatus {
    return this.#status.peek();
  }

  synced(key: string, schema?: Schema, options: SyncedOptions<never> = {}): Replica<never> {
    checkKey(key, 'synced: the key');
    const replica = this.#replicate(Target.Object, key, '', schema, (slot, gate) => (
      new SyncedReplica(this.#runtime, slot, gate, key, options as SyncedOptions<unknown>)
    ));
    return replica as Replica<unknown> as Replica<never>;
  }

  datastore(id: string, schema?: Schema, { kind, primary = 'id', order, createCell }: DatastoreOptions<never> = {}): Collection<never> {
    checkKey(id, 'datastore: the id');
    checkKey(primary, 'datastore: `primary`');
    const target = kind === undefined ? Target.Datastore : { permanent: Target.Permanent, temp: Target.Temporary }[kind];
    if (target === undefined) throw invalid("datastore: `kind` is 'permanent' or 'temp'");
    const collection = this.#replicate(target, id, primary, schema, (slot, gate) => (
      new DatastoreCollection(this.#runtime, slot, gate, id, order, createCell)
    ));
    return collection as Collection<unknown> as Collection<never>;
  }

  pool(id: string, schema?: Schema, { create = true, presence = false, createCell }: PoolOptions = {}): Pool<never> {
    checkKey(id, 'pool: the id');
    const target = presence ? Target.Presence : create ? Target.OpenPool : Target.Pool;
    const pool = this.#replicate(target, id, '', schema, (slot, gate) => (
      new PoolReplica(this.#runtime, slot, gate, id, presence, createCell)
    ));
    return pool as Pool<unknown> as Pool<never>;
  }

  notify(to: string, pack: unknown, options: NotifyOptions = {}): Promise<string> {
    return notify(this.#runtime, to, pack, options);
  }

  get inbox(): Inbox {
    return (this.#inbox ??= new SessionInbox(this.#runtime));
  }

  kv(group: string): KvGroup {
    checkKey(group, 'kv: the group');
    return new SessionKv(this.#runtime, group);
  }

  async put(key: string, value: unknown): Promise<void> {
    checkKey(key, 'put: the key');
    await this.#runtime.write(message(Write.Put, key, value));
  }

  async delete(key: string): Promise<void> {
    checkKey(key, 'delete: the key');
    await this.#runtime.write(message(Write.Delete, key));
  }

  dehydrate(): DehydratedState {
    const replicas = [...this.#runtime.handlers()].filter((handler) => handler instanceof BaseReplica);
    return merged(replicas.map((replica) => replica.dehydrate()));
  }

  hydrate(state: DehydratedState): void {
    (this.#seeds ??= new Seeds()).add(state);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unlisten();
    this.#inbox?.close();
    this.#runtime.input(() => this.#runtime.core.ask(Ask.Close));
    this.#runtime.retire();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): Runtime {
    if (this.#closed) throw closed();
    return this.#runtime;
  }

  #replicate<R extends { readonly isDisposed: boolean }>(
    target: Target, key: string, primary: string, schema: Schema | undefined,
    make: (slot: number, gate: Gate | undefined) => R,
  ): R {
    const gate = compileGate(schema);
    const runtime = this.#open();
    const number = runtime.gate(gate);
    const seed = this.#seeds?.of(target, key);
    runtime.tick();
    if (seed) runtime.core.ask(Ask.Hold, true);
    const slot = runtime.subscribe(target, key, primary, number);
    if (slot === 0) {
      runtime.core.ask(Ask.Hold, false);
      throw badKey();
    }
    runtime.adopt(slot, gate);
    const replica = make(slot, gate);
    if (replica instanceof RowsReplica) replica.origin = [target, primary];
    if (seed) {
      plant(runtime, slot, seed, replica);
      // The gate gives its verdicts; then the position to subscribe from is known.
      runtime.settle();
      runtime.core.ask(Ask.Hold, false);
    }
    runtime.settle();
    return replica;
  }

  #announceStatus(): void {
    this.#status.expire();
    this.#status.announce();
  }

  #readStatus(): ClientStatus {
    const { core, memory } = this.#runtime;
    const facts = memory.facts(core.ask(Ask.Link));
    const state = facts[LinkFact.State];
    const code = facts[LinkFact.Code]!;
    const wait = facts[LinkFact.RetryIn]!;
    const reason = memory.text(Text.LinkReason) ?? '';
    if (this.#closed) return { state: 'closed', error: null };
    if (state === 4) return { state: 'closed', error: closure(code, reason) };
    if (state === 2) return { state: 'live', address: this.#dialer.address };
    if (globalThis.navigator?.onLine === false) return { state: 'offline' };
    if (state !== 3) return { state: 'connecting' };
    return { state: 'reconnecting', reason, nextAttemptAt: wait < 0 ? null : (this.#dialer.environment ?? Date).now() + wait };
  }
}

/** Calls `back` when the network or the page comes back and `gone` when the network goes, where there are such events. */
function listen(back: () => void, gone: () => void): () => void {
  if (typeof addEventListener !== 'function') return () => {};
  const visible = (): void => {
    if (document.visibilityState === 'visible') back();
  };
  const page = typeof document === 'undefined' ? undefined : document;
  addEventListener('online', back);
  addEventListener('pageshow', back);
  addEventListener('offline', gone);
  page?.addEventListener('visibilitychange', visible);
  return () => {
    removeEventListener('online', back);
    removeEventListener('pageshow', back);
    removeEventListener('offline', gone);
    page?.removeEventListener('visibilitychange', visible);
  };
}
