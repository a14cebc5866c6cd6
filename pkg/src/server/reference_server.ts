// Drives the server's core: links, one timer, the clock. It knows no rule of the server.

import { load } from '#server-loader';
import type { Link } from '../core.js';
import { type Environment, page } from '../environment.js';
import { invalid, refusal, TidewireError } from '../errors.js';
import type { Envelope, Transport } from '../transport/transport.js';
import { decode } from '../value/decode.js';
import { checkKey, encode } from '../value/encode.js';
import { type Clock, ManualClock, turn } from './clock.js';
import type { LoadedServer, ServerCore } from './core.js';
import { type Faults, Network, type Traffic } from './network.js';
import { PageLink } from './page_link.js';
import { Pipe } from './pipe.js';
import { Random } from './random.js';
import { type Rules, tell } from './rules.js';
import {
  changed, type Run, type ServerDatastore, serverDatastore, type ServerDatastoreOptions, type ServerGroup, serverGroup, type ServerMailbox,
  serverMailbox, type ServerPool, serverPool,
} from './stores.js';

/** How to create a server. */
export interface ReferenceServerOptions extends Rules {
  /**
   * Where its randomness comes from, that of its network and, with a manual clock, that of its clients: the same seed
   * gives the same epochs, ids and faults. Default: random; with a manual clock, 1.
   */
  seed?: number | Uint8Array | undefined;
  /** `real` (default), or `manual`: time stands still until `advance` or `settle` is called, for the clients too. */
  clock?: 'real' | 'manual' | undefined;
  /** How bad the network is to begin with. Default: perfect. */
  faults?: Faults | undefined;
  /** How many of the last commits `rollback` can take back. Default: 16 with a manual clock, else 0, which takes no memory. */
  history?: number | undefined;
  /** Hears what becomes of every frame. It must not throw. */
  observe?: ((traffic: Traffic) => void) | undefined;
}

/** The close code after which clients come back, as they would to a server of the network. */
const RESTARTING = 4000;

/** Frames that a call of `settle` waits for at most: more than any exchange has that ends. */
const MOST_STEPS = 100_000;

let loading: Promise<LoadedServer> | undefined;

/** A server in this page, for tests, demonstrations and work without a network: `await connect(server)`. */
export class ReferenceServer {
  /** Time and chance of its clients, where the clock is manual. */
  readonly environment: Environment | undefined;
  readonly #core: ServerCore;
  readonly #clock: Clock;
  readonly #manual: ManualClock | undefined;
  readonly #random: Random;
  readonly #network: Network;
  readonly #links = new Map<number, PageLink>();
  readonly #pipe: Pipe;
  /** The pipe's connection. */
  #pipeId = 0;
  #lastLink = 0;
  #timer: unknown;
  #isOnline = true;
  #isBusy = false;
  #isClosed = false;
  /** What moves time, one after the other. */
  #moving: Promise<void> = Promise.resolve();
  readonly #command: Run = (input) => this.#run((now) => input(this.#core, now));

  private constructor({ ServerCore, ServerRules }: LoadedServer, options: ReferenceServerOptions) {
    const { clock = 'real', faults = {}, observe } = options;
    if (clock !== 'real' && clock !== 'manual') throw invalid("ReferenceServer: `clock` is 'real' or 'manual'");
    this.#manual = clock === 'manual' ? new ManualClock() : undefined;
    this.#clock = this.#manual ?? page;
    const seed = seedBytes(options.seed ?? (this.#manual && 1));
    this.#random = new Random(seed);
    this.#network = new Network(this.#clock, this.#manual !== undefined, new Random(this.#random.bytes(32)), observe);
    this.#network.faults = faults;
    this.environment = this.#manual && environmentOf(this.#manual, new Random(this.#random.bytes(32)));
    const rules = new ServerRules();
    const own = [...this.#random.bytes(16)].join('.');
    tell(rules, options, own);
    this.#core = new ServerCore(seed, rules, options.history ?? (this.#manual ? 16 : 0));
    this.#pipe = new Pipe(this.#network, {
      connect: () => {
        const id = (this.#pipeId = ++this.#lastLink);
        this.#run((now) => this.#core.connect(now, id));
        return id;
      },
      send: (id, frame) => {
        if (!this.#isClosed) this.#run((now) => this.#core.frame(now, id, frame));
      },
    }, own, this.environment);
    this.#pump();
  }

  /**
   * Loads the server's WebAssembly, the first time, and creates a server without data.
   *
   * @throws TidewireError `invalid_argument` or `unsupported_schema` for options that are none.
   */
  static async create(options: ReferenceServerOptions = {}): Promise<ReferenceServer> {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return new ReferenceServer(await loading, options);
  }

  /** A new link to it. Frames travel in microtasks, both ways, and never into a call that is under way. */
  link(): Link {
    this.#checkOpen();
    const id = ++this.#lastLink;
    const link = new PageLink(
      this.#network,
      id,
      (bytes) => {
        if (this.#links.has(id)) this.#run((now) => this.#core.frame(now, id, bytes));
      },
      () => {
        if (this.#links.delete(id)) this.#run((now) => this.#core.disconnect(now, id));
      },
    );
    if (!this.#isOnline) {
      link.break();
      return link;
    }
    this.#links.set(id, link);
    this.#run((now) => this.#core.connect(now, id));
    return link;
  }

  /** Opens a datastore, creating it where it does not exist; without an id, under a fresh one. */
  datastore<T = unknown>(id = '', options: ServerDatastoreOptions = {}): ServerDatastore<T> {
    return serverDatastore(this.#command, id, options);
  }

  /** Opens a merge pool, making it where it does not exist; without an id, under a fresh one. */
  pool(id = '', options: { presence?: boolean | undefined } = {}): ServerPool {
    return serverPool(this.#command, id, options);
  }

  /** The mailbox of a user. */
  mailbox(user: string): ServerMailbox {
    return serverMailbox(this.#command, user);
  }

  /** A group of the key-value store. */
  kv(group: string): ServerGroup {
    return serverGroup(this.#command, group);
  }

  /** Sets an object. Returns the sequence that the change got. */
  put(key: string, value: unknown): number {
    checkKey(key, 'put: the key');
    const bytes = encode(value);
    return this.#run((now) => this.#core.put(now, key, bytes));
  }

  /** Deletes an object. Returns the sequence that the change got; `null` if there was none. */
  delete(key: string): number | null {
    checkKey(key, 'delete: the key');
    return changed(this.#run((now) => this.#core.delete(now, key)));
  }

  /** An object as it is, computed where it was never written; `null` where there is none. A `refetch` may return it. */
  snapshot<T = unknown>(key: string): Envelope<T> | null {
    checkKey(key, 'snapshot: the key');
    const bytes = this.#run((now) => this.#core.object(now, key));
    return bytes === undefined ? null : decode(bytes) as Envelope<T>;
  }

  /**
   * A plain transport over the same network: what changes of an object comes as an envelope, for replicas made with
   * `createClientReplica`. What is published on it reaches who listens to it, not the server.
   */
  transport(): Transport & { keyCount(): number } {
    return this.#pipe;
  }

  // ---- what a network and a machine do to it

  /** How bad the network is. Takes effect with the next frame. */
  get faults(): Faults {
    return this.#network.faults;
  }

  set faults(faults: Faults) {
    this.#network.faults = faults;
  }

  /** Whether there is a network at all. Without, all links break and new ones fail. */
  get online(): boolean {
    return this.#isOnline;
  }

  set online(online: boolean) {
    this.#isOnline = online;
    if (!online) this.#breakLinks();
  }

  /** Its process ends and starts again: links break; what is temporary (datastores of that kind, pools) is gone. */
  restart(): void {
    this.#reopen(() => this.#core.restart(this.#random.bytes(32)));
  }

  /**
   * Its process ends, and starts again without its last `count` commits, as from a backup: what clients saw meanwhile never
   * happened. They hear of it as `rollback`.
   *
   * @throws TidewireError `invalid_argument` where so many commits are not kept.
   */
  rollback(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0) throw invalid('rollback: the count is a number of commits');
    this.#reopen(() => {
      if (this.#core.rollback(count, this.#random.bytes(32))) return;
      throw invalid(`rollback: ${count} commits are not kept; create the server with \`history: ${count}\` or more, and write as often`);
    });
  }

  // ---- time

  /** Milliseconds since 1970, by its clock. */
  now(): number {
    return this.#clock.now();
  }

  /**
   * Moves the manual clock on. Everything that is due meanwhile happens, in order, with all promises that hang on it.
   *
   * @throws TidewireError `invalid_argument` where the clock is real.
   */
  advance(ms: number): Promise<void> {
    const clock = this.#manual;
    if (clock === undefined) throw invalid("advance: the clock is real; create the server with `clock: 'manual'`");
    if (!(ms >= 0 && Number.isFinite(ms))) throw invalid('advance: the time is a number of milliseconds');
    return this.#move(async () => {
      const end = clock.now() + ms;
      await turn();
      while (clock.step(end)) await turn();
      clock.moveTo(end);
    });
  }

  /**
   * Lets all frames arrive that are under way, and those that they cause. The manual clock moves on as far as that
   * takes; what waits for a time of its own, such as the next attempt to connect, is not waited for.
   */
  settle(): Promise<void> {
    return this.#move(async () => {
      await turn();
      for (let steps = 0; this.#network.underWay > 0; steps++) {
        if (steps === MOST_STEPS) throw new TidewireError('limit_exceeded', `settle: still busy after ${MOST_STEPS} frames; something answers itself for ever`);
        if (this.#manual) this.#manual.step(Infinity);
        await turn();
      }
    });
  }

  /** Ends all links and lets go of the data. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const link of this.#links.values()) link.end(RESTARTING, 'the server was closed');
    this.#links.clear();
    this.#clock.clearTimeout(this.#timer);
    this.#core.free();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #move(run: () => Promise<void>): Promise<void> {
    const moved = this.#moving.then(run);
    this.#moving = moved.catch(() => {});
    return moved;
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new TidewireError('closed', 'the server is closed');
  }

  #breakLinks(): void {
    for (const link of [...this.#links.values()]) link.break();
  }

  #reopen(reopen: () => void): void {
    this.#run(() => {
      reopen();
      // The new process knows of none of them.
      const links = [...this.#links.values()];
      this.#links.clear();
      for (const link of links) link.break();
    });
    this.#pipe.open();
    this.#pipe.lose();
  }

  /** Gives the core an input or command, then does what it asks for. */
  #run<R>(input: (now: number) => R): R {
    this.#checkOpen();
    if (this.#isBusy) throw invalid('the server cannot be called by its own rules: they answer from what they are given');
    this.#isBusy = true;
    try {
      return input(this.#clock.now());
    } catch (error) {
      const { code } = error as { code?: unknown };
      throw typeof code === 'number' ? refusal(code, (error as Error).message) : error;
    } finally {
      this.#isBusy = false;
      this.#pump();
    }
  }

  #pump(): void {
    for (let id = this.#core.pollConnection(); id >= 0; id = this.#core.pollConnection()) {
      const frame = this.#core.takeFrame();
      const link = this.#links.get(id);
      if (frame) {
        if (id === this.#pipeId) this.#pipe.deliver(frame);
        else link?.deliver(frame);
      } else {
        this.#links.delete(id);
        link?.end(this.#core.closeCode(), this.#core.closeReason());
      }
    }
    this.#clock.clearTimeout(this.#timer);
    const due = this.#core.nextTimeout();
    if (due < 0) return;
    this.#timer = this.#clock.setTimeout(() => this.#run((now) => this.#core.timeout(now)), Math.max(0, due - this.#clock.now()));
    // A server that nobody closed keeps no Node process alive.
    (this.#timer as { unref?: () => void }).unref?.();
  }
}

function environmentOf(clock: ManualClock, random: Random): Environment {
  return {
    now: () => clock.now(),
    setTimeout: (callback, delay) => clock.setTimeout(callback, delay),
    clearTimeout: (handle) => clock.clearTimeout(handle),
    randomBytes: (length) => random.bytes(length),
  };
}

function seedBytes(seed: number | Uint8Array | undefined): Uint8Array {
  if (seed instanceof Uint8Array) return seed;
  if (seed === undefined) return crypto.getRandomValues(new Uint8Array(32));
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setFloat64(0, seed);
  return new Uint8Array(bytes.buffer);
}
