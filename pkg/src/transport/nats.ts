// The transport over a NATS connection: subjects, a codec, and one bus subscription per key.

import { invalid } from '../errors.js';
import { deliver, type Envelope, type EnvelopeHandler, type Transport, type Unsubscribe } from './transport.js';

/** A NATS connection, adapted to callbacks. */
export interface NatsConnection {
  publish(subject: string, payload: Uint8Array): void;
  /** Calls `onMessage` with every payload on `subject` until the returned function is called. */
  subscribe(subject: string, onMessage: (payload: Uint8Array) => void): () => void;
}

/** How envelopes become payloads. */
export interface EnvelopeCodec {
  encode(envelope: Envelope): Uint8Array;
  decode(payload: Uint8Array): Envelope;
}

/** What a {@link NatsTransport} is made of. */
export interface NatsTransportOptions {
  connection: NatsConnection;
  /** Default: none, envelopes pass as they are, which fits connections in memory only. */
  codec?: EnvelopeCodec;
  /** Default: `synced.` before the key. */
  subjectOf?: (key: string) => string;
}

const AS_IS: EnvelopeCodec = {
  encode: (envelope) => envelope as unknown as Uint8Array,
  decode: (payload) => payload as unknown as Envelope,
};

/** Writers and readers in different processes. All readers of a key here share one subscription of the bus. */
export class NatsTransport implements Transport {
  readonly #connection: NatsConnection;
  readonly #codec: EnvelopeCodec;
  readonly #subjectOf: (key: string) => string;
  readonly #keys = new Map<string, { leave: () => void; handlers: Set<EnvelopeHandler> }>();

  constructor({ connection, codec, subjectOf }: NatsTransportOptions) {
    if (!connection) throw invalid('NatsTransport requires a connection');
    this.#connection = connection;
    this.#codec = codec ?? AS_IS;
    this.#subjectOf = subjectOf ?? ((key) => `synced.${key}`);
  }

  publish(key: string, envelope: Envelope): void {
    this.#connection.publish(this.#subjectOf(key), this.#codec.encode(envelope));
  }

  subscribe(key: string, handler: EnvelopeHandler): Unsubscribe {
    let entry = this.#keys.get(key);
    if (entry === undefined) {
      const handlers = new Set<EnvelopeHandler>();
      const leave = this.#connection.subscribe(this.#subjectOf(key), (payload) => {
        deliver(handlers, this.#codec.decode(payload));
      });
      this.#keys.set(key, (entry = { leave, handlers }));
    }
    entry.handlers.add(handler);
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      const present = this.#keys.get(key);
      if (present?.handlers.delete(handler) && present.handlers.size === 0) {
        this.#keys.delete(key);
        present.leave();
      }
    };
  }

  /** The number of keys with a subscription of the bus. */
  keyCount(): number {
    return this.#keys.size;
  }
}
