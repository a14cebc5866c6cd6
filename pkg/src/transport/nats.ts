// The transport over a NATS connection: subjects, a codec, and one bus subscription per key.

import { invalid, TidewireError } from '../errors.js';
import { report } from '../failure.js';
import { isSubject, keyOf, subjectOf } from './subject.js';
import {
  deliver, type Envelope, type EnvelopeHandler, lose, type Transport, type TransportObserver, type Unsubscribe,
} from './transport.js';

/** A NATS connection, adapted to callbacks. `natsConnection` of `tidewire/nats` adapts one of the official client. */
export interface NatsConnection {
  publish(subject: string, payload: Uint8Array): void;
  /**
   * Calls `onMessage` with every payload on `subject` until the returned function is called. If the bus ends the
   * subscription, or never begins it, `onError` says why.
   */
  subscribe(subject: string, onMessage: (payload: Uint8Array) => void, onError?: (error: unknown) => void): () => void;
  /** Resolves when all that was asked for before has reached the server. */
  flush?(): Promise<void>;
  /** Tells of the connection itself until the returned function is called. */
  watch?(watcher: NatsWatcher): () => void;
}

/** What a connection tells of itself. */
export interface NatsWatcher {
  /** The connection is back after a break: what was published meanwhile has not come. */
  onReconnect(): void;
  /** The server refused something, for instance a publish without permission. */
  onError(error: unknown): void;
}

/** How envelopes become payloads. */
export interface EnvelopeCodec {
  encode(envelope: Envelope): Uint8Array;
  /** Throws for a payload that is none; that payload is passed over. */
  decode(payload: Uint8Array): Envelope;
}

/** What a {@link NatsTransport} is made of. */
export interface NatsTransportOptions {
  connection: NatsConnection;
  /** Default: none, envelopes pass as they are, which fits connections in memory only. */
  codec?: EnvelopeCodec;
  /** Default: {@link NatsTransport.subjectOf}. */
  subjectOf?: (key: string) => string;
  /**
   * Hears what went wrong beside the calls: a payload that is no envelope, a subscription or publish that the bus refused.
   * Default: the error is reported as an uncaught one, and nothing stops.
   */
  onError?: (error: TidewireError, key: string | undefined) => void;
}

const AS_IS: EnvelopeCodec = {
  encode: (envelope) => envelope as unknown as Uint8Array,
  decode: (payload) => payload as unknown as Envelope,
};

/** The readers of one key. */
interface Entry {
  leave: () => void;
  readonly handlers: Set<EnvelopeHandler>;
  readonly observers: Map<EnvelopeHandler, TransportObserver>;
}

/**
 * Writers and readers in different processes. All readers of a key here share one subscription of the bus, and every
 * payload is decoded once for all of them.
 */
export class NatsTransport implements Transport {
  readonly #connection: NatsConnection;
  readonly #codec: EnvelopeCodec;
  readonly #subjectOf: (key: string) => string;
  readonly #onError: (error: TidewireError, key: string | undefined) => void;
  readonly #keys = new Map<string, Entry>();
  /** Set while there are keys: a transport that nobody reads from holds nothing of the connection. */
  #unwatch: (() => void) | undefined;
  #isClosed = false;

  constructor({ connection, codec, subjectOf: ownSubjectOf, onError }: NatsTransportOptions) {
    if (!connection) throw invalid('NatsTransport requires a connection');
    this.#connection = connection;
    this.#codec = codec ?? AS_IS;
    this.#subjectOf = ownSubjectOf === undefined ? subjectOf : (key) => checked(ownSubjectOf(key), key);
    this.#onError = onError ?? report;
  }

  /**
   * The subject of a key: `synced.` and the key, wherever that is a subject of NATS. Other keys (with spaces, control
   * characters, `*`, `>` or empty tokens, or with a `$` at the beginning) are percent-encoded after `synced-escaped.`.
   * No two keys share a subject.
   *
   * @throws TidewireError `invalid_argument` for a key of more than 1,024 bytes of UTF-8, or one that is not well-formed.
   */
  static subjectOf(key: string): string {
    return subjectOf(key);
  }

  /** The key whose subject this is; `undefined` where there is none. */
  static keyOf(subject: string): string | undefined {
    return keyOf(subject);
  }

  /** Hands `envelope` to the bus, which delivers it at most once to whoever is connected. */
  publish(key: string, envelope: Envelope): void {
    this.#checkOpen();
    this.#connection.publish(this.#subjectOf(key), this.#codec.encode(envelope));
  }

  subscribe(key: string, handler: EnvelopeHandler, observer?: TransportObserver): Unsubscribe {
    this.#checkOpen();
    const entry = this.#keys.get(key) ?? this.#open(key);
    entry.handlers.add(handler);
    if (observer) entry.observers.set(handler, observer);
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      const present = this.#keys.get(key);
      if (!present?.handlers.delete(handler)) return;
      present.observers.delete(handler);
      if (present.handlers.size === 0) this.#end(key, present);
    };
  }

  /**
   * Resolves when nothing is missed any more of what is published on `key`, which is subscribed here.
   *
   * @throws TidewireError `invalid_argument` if nobody here listens to it, `unavailable` if the connection breaks meanwhile.
   */
  async ready(key: string): Promise<void> {
    if (!this.#keys.has(key)) throw invalid(`ready: nobody listens to ${JSON.stringify(key)} here`);
    try {
      await this.#connection.flush?.();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new TidewireError('unavailable', `the NATS connection is not there: ${reason}`, { cause, retryable: true });
    }
  }

  /** The number of keys with a subscription of the bus. */
  keyCount(): number {
    return this.#keys.size;
  }

  /** Ends all subscriptions. The connection is its owner's, and stays open. */
  close(): void {
    this.#isClosed = true;
    for (const [key, entry] of [...this.#keys]) this.#end(key, entry);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new TidewireError('closed', 'the transport is closed');
  }

  #open(key: string): Entry {
    const entry: Entry = { leave: () => {}, handlers: new Set(), observers: new Map() };
    entry.leave = this.#connection.subscribe(
      this.#subjectOf(key),
      (payload) => this.#deliver(key, entry, payload),
      (cause) => this.#onError(refused(cause, `the subscription of ${JSON.stringify(key)}`), key),
    );
    this.#keys.set(key, entry);
    this.#unwatch ??= this.#connection.watch?.({
      onReconnect: () => this.#lose(),
      onError: (cause) => this.#onError(refused(cause, 'something that was sent'), undefined),
    });
    return entry;
  }

  #end(key: string, entry: Entry): void {
    this.#keys.delete(key);
    entry.leave();
    if (this.#keys.size > 0) return;
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #deliver(key: string, { handlers }: Entry, payload: Uint8Array): void {
    let envelope: Envelope;
    try {
      envelope = this.#codec.decode(payload);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.#onError(new TidewireError('malformed_value', `a payload for ${JSON.stringify(key)} is no envelope: ${reason}`, { cause }), key);
      return;
    }
    deliver(handlers, envelope);
  }

  /** Nobody knows what a break has cost; those who can ask do. */
  #lose(): void {
    for (const { observers } of [...this.#keys.values()]) lose(observers.values());
  }
}

/** A subject of the application's own, if it cannot be taken for anything else. */
function checked(subject: string, key: string): string {
  if (typeof subject === 'string' && isSubject(subject) && !/^(\$|_INBOX(\.|$))/.test(subject)) return subject;
  throw invalid(
    `subjectOf(${JSON.stringify(key)}) gave ${JSON.stringify(subject)}, which is no subject for envelopes: it has no spaces, `
    + 'wildcards or empty tokens, and does not begin with $ or _INBOX',
  );
}

function refused(cause: unknown, what: string): TidewireError {
  return new TidewireError('refused', `NATS refused ${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
