// The transport over a session with a Tidewire server: what clients relay to each other on keys that no authority owns.

import { type Client, connect, type ConnectOptions, type ConnectTarget, runtimeOf } from '../client.js';
import { Message, Target, Write } from '../core.js';
import { invalid, TidewireError } from '../errors.js';
import { Feed, type Fields } from '../feed.js';
import { report } from '../runtime.js';
import { checkKey } from '../value/encode.js';
import { message } from '../value/message.js';
import { deliver, type Envelope, type EnvelopeHandler, type Transport, type Unsubscribe } from './transport.js';

/** How a {@link WebSocketTransport} tells what went wrong. */
export interface WebSocketTransportOptions {
  /** Hears why an envelope was not passed on, or a key may not be followed. Default: it is reported as an uncaught error. */
  onError?: ((error: TidewireError, key: string) => void) | undefined;
}

interface Followed {
  readonly feed: Feed;
  readonly handlers: Set<EnvelopeHandler>;
  waiting: { resolve(): void; reject(error: TidewireError): void }[];
  denial: TidewireError | undefined;
}

/**
 * Writers and readers in different pages and programs, over a Tidewire server that passes envelopes on and keeps nothing.
 *
 * As every transport it is a dumb pipe. What is published while there is no connection goes out with the next one, for up
 * to 30 s; what others publish meanwhile is lost, and a replica with a `refetch` mends that. All readers of a key here
 * share one subscription. The publisher hears its own envelopes, when they come back.
 */
export class WebSocketTransport implements Transport {
  readonly #client: Client;
  readonly #ownsClient: boolean;
  readonly #onError: (error: TidewireError, key: string) => void;
  readonly #keys = new Map<string, Followed>();

  /** A transport over the session of `client`, which stays the caller's to close. */
  constructor(client: Client, options?: WebSocketTransportOptions);
  /** @internal */
  constructor(client: Client, options?: WebSocketTransportOptions, ownsClient?: boolean);
  constructor(client: Client, { onError = report }: WebSocketTransportOptions = {}, ownsClient = false) {
    // Says at once what is no client, and what is closed.
    runtimeOf(client);
    this.#client = client;
    this.#ownsClient = ownsClient;
    this.#onError = onError;
  }

  /** A transport with a session of its own, which ends with it. Takes what `connect` takes. */
  static async connect(
    target: ConnectTarget, options: ConnectOptions & WebSocketTransportOptions = {},
  ): Promise<WebSocketTransport> {
    return new WebSocketTransport(await connect(target, options), options, true);
  }

  /**
   * Passes `envelope` on to all who follow `key`, wherever they are.
   *
   * @throws TidewireError `unencodable` for a value that cannot be sent, `invalid_argument` for a sequence or epoch that has
   * no place on the wire, `closed` if the client is closed.
   */
  publish(key: string, envelope: Envelope): void {
    checkKey(key, 'publish: the key');
    const { value, schema_version, sequence, epoch, prev } = envelope;
    const parts = [key, number(sequence, 'sequence'), number(prev ?? null, 'prev'), schema_version ?? null, historyOf(epoch), value !== undefined];
    const operation = message(Write.Relay, ...parts, ...(value === undefined ? [] : [value]));
    runtimeOf(this.#client).write(operation).catch((error: TidewireError) => this.#onError(error, key));
  }

  subscribe(key: string, handler: EnvelopeHandler): Unsubscribe {
    checkKey(key, 'subscribe: the key');
    const followed = this.#keys.get(key) ?? this.#follow(key);
    followed.handlers.add(handler);
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      if (followed.handlers.delete(handler) && followed.handlers.size === 0) this.#leave(key, followed);
    };
  }

  /** The number of keys that are followed. */
  keyCount(): number {
    return this.#keys.size;
  }

  /**
   * Resolves when nothing is missed any more of what is published on `key`, which somebody here follows. After a lost
   * connection that is so again once the session is back.
   *
   * @throws TidewireError `denied` if this client may not follow it.
   */
  ready(key: string): Promise<void> {
    const followed = this.#keys.get(key);
    if (followed === undefined) return Promise.reject(invalid(`ready: nobody here follows ${JSON.stringify(key)}; subscribe first`));
    if (followed.denial) return Promise.reject(followed.denial);
    if (followed.feed.isFollowing) return Promise.resolve();
    return new Promise((resolve, reject) => followed.waiting.push({ resolve, reject }));
  }

  /** Ends all subscriptions, and the session if it is this transport's own. */
  close(): void {
    for (const [key, followed] of this.#keys) {
      followed.handlers.clear();
      this.#leave(key, followed);
    }
    if (this.#ownsClient) this.#client.close();
  }

  #follow(key: string): Followed {
    const followed: Followed = {
      feed: new Feed(runtimeOf(this.#client), Target.Relay, key, '', {
        hear: (message) => {
          if (message[0] === Message.Relayed) return deliver(followed.handlers, envelopeOf(message));
          for (const { resolve } of followed.waiting.splice(0)) resolve();
        },
        deny: (error) => {
          followed.denial = error;
          for (const { reject } of followed.waiting.splice(0)) reject(error);
          this.#onError(error, key);
        },
      }),
      handlers: new Set(),
      waiting: [],
      denial: undefined,
    };
    this.#keys.set(key, followed);
    return followed;
  }

  #leave(key: string, followed: Followed): void {
    this.#keys.delete(key);
    followed.feed.end();
    for (const { reject } of followed.waiting.splice(0)) reject(new TidewireError('disposed', 'nobody follows the key any more'));
  }
}

/** An envelope as it was published, without what it did not say. */
function envelopeOf([, , sequence, prev, version, epoch, , value]: Fields): Envelope {
  return {
    value,
    ...(typeof version === 'string' ? { schema_version: version } : {}),
    sequence: sequence as number,
    ...(epoch instanceof Uint8Array ? { epoch: Array.from(epoch, (byte) => byte.toString(16).padStart(2, '0')).join('') } : {}),
    ...(typeof prev === 'number' ? { prev } : {}),
  };
}

/** A sequence for the wire. */
function number(sequence: unknown, what: string): number | null {
  if (sequence === null) return null;
  const value = typeof sequence === 'bigint' ? Number(sequence) : sequence;
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw invalid(`publish: \`${what}\` must be an integer of 0 to 2^53 - 1`);
}

/** An epoch for the wire. */
function historyOf(epoch: string | null | undefined): Uint8Array | null {
  if (epoch === undefined || epoch === null) return null;
  if (!/^[0-9a-f]{32}$/i.test(epoch)) throw invalid('publish: an `epoch` has 32 hex digits');
  return Uint8Array.from(epoch.match(/../g)!, (byte) => Number.parseInt(byte, 16));
}
