// Drives the server's core: links, one timer, the clock. It knows no rule of the server.

import { load } from '#server-loader';
import type { Link } from '../core.js';
import { refusal, TidewireError } from '../errors.js';
import { checkKey, encode } from '../value/encode.js';
import type { ServerCore, ServerCoreConstructor } from './core.js';
import { PageLink } from './page_link.js';

/** How to create a server. */
export interface ReferenceServerOptions {
  /** Where its randomness comes from: the same seed gives the same epochs and ids. Default: random. */
  seed?: number | Uint8Array | undefined;
}

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
}

/** The close code after which clients come back, as they would to a server of the network. */
const RESTARTING = 4000;

let loading: Promise<ServerCoreConstructor> | undefined;

/** A server in this page, for tests, demonstrations and work without a network: `await connect(server)`. */
export class ReferenceServer {
  readonly #core: ServerCore;
  readonly #links = new Map<number, PageLink>();
  #lastLink = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(core: ServerCore) {
    this.#core = core;
    this.#pump();
  }

  /** Loads the server's WebAssembly, the first time, and creates a server without data. */
  static async create({ seed }: ReferenceServerOptions = {}): Promise<ReferenceServer> {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    const Core = await loading;
    return new ReferenceServer(new Core(seedBytes(seed)));
  }

  /** A new link to it. Frames travel in microtasks, both ways, and never into a call that is under way. */
  link(): Link {
    if (this.#closed) throw new TidewireError('closed', 'the server is closed');
    const id = ++this.#lastLink;
    const link = new PageLink(
      // It may have been closed since the frame was sent: then the link's end is on its way.
      (bytes) => {
        if (!this.#closed) this.#run((now) => this.#core.frame(now, id, bytes));
      },
      () => {
        if (this.#links.delete(id)) this.#run((now) => this.#core.disconnect(now, id));
      },
    );
    this.#links.set(id, link);
    this.#run((now) => this.#core.connect(now, id));
    return link;
  }

  /** Opens a datastore, creating it where it does not exist; without an id, under a fresh one. */
  datastore<T = unknown>(id = '', { kind = 'temp', primary = 'id' }: ServerDatastoreOptions = {}): ServerDatastore<T> {
    checkKey(id, 'datastore: the id');
    checkKey(primary, 'datastore: `primary`');
    const opened = this.#run((now) => this.#core.openDatastore(now, id, kind === 'permanent', primary));
    return {
      id: opened,
      set: (value) => {
        const bytes = encode(value);
        return this.#run((now) => this.#core.set(now, opened, bytes));
      },
      delete: (key) => {
        checkKey(key, 'the key of a record');
        return changed(this.#run((now) => this.#core.remove(now, opened, key)));
      },
    };
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

  /** Ends all links and lets go of the data. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const link of this.#links.values()) link.end(RESTARTING, 'the server was closed');
    this.#links.clear();
    clearTimeout(this.#timer);
    this.#core.free();
  }

  /** Gives the core an input or command, then does what it asks for. */
  #run<R>(input: (now: number) => R): R {
    if (this.#closed) throw new TidewireError('closed', 'the server is closed');
    try {
      return input(Date.now());
    } catch (error) {
      const { code } = error as { code?: unknown };
      throw typeof code === 'number' ? refusal(code, (error as Error).message) : error;
    } finally {
      this.#pump();
    }
  }

  #pump(): void {
    for (let id = this.#core.pollConnection(); id >= 0; id = this.#core.pollConnection()) {
      const frame = this.#core.takeFrame();
      const link = this.#links.get(id);
      if (frame) {
        link?.deliver(frame.buffer);
      } else {
        this.#links.delete(id);
        link?.end(this.#core.closeCode(), this.#core.closeReason());
      }
    }
    clearTimeout(this.#timer);
    const due = this.#core.nextTimeout();
    if (due < 0) return;
    const timer = setTimeout(() => this.#run((now) => this.#core.timeout(now)), Math.max(0, due - Date.now()));
    // A server that nobody closed keeps no Node process alive.
    (timer as { unref?: () => void }).unref?.();
    this.#timer = timer;
  }
}

function changed(sequence: number): number | null {
  return sequence < 0 ? null : sequence;
}

function seedBytes(seed: number | Uint8Array | undefined): Uint8Array {
  if (seed instanceof Uint8Array) return seed;
  if (seed === undefined) return crypto.getRandomValues(new Uint8Array(32));
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setFloat64(0, seed);
  return new Uint8Array(bytes.buffer);
}
