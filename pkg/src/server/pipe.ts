// The server's objects over the plain transport, for replicas of the application's own: what changes comes as envelopes.
//
// It is a client of the server like others, in few lines: it follows objects and keeps nothing. Sessions, refetches and
// positions are the business of whoever listens.

import type { Environment } from '../environment.js';
import {
  deliver, type Envelope, type EnvelopeHandler, lose, type Transport, type TransportObserver, type Unsubscribe,
} from '../transport/transport.js';
import { decode, ends } from '../value/decode.js';
import { encode } from '../value/encode.js';
import type { Network, Wire } from './network.js';

/** How the pipe reaches the server. */
export interface Access {
  /** Opens a connection that delivers to this pipe. */
  connect(): number;
  /** Hands the server a frame. */
  send(connection: number, frame: Uint8Array): void;
}

/** What the pipe reads and writes of the protocol. */
const enum Message { Hello = 1, Subscribe = 2, Unsubscribe = 3, Ping = 7, Answer = 65, Envelope = 67, Beacon = 68 }

/** The kind of target that an object is. */
const OBJECT = 0;

interface Entry {
  readonly subscription: number;
  readonly handlers: Set<EnvelopeHandler>;
  readonly observers: Map<EnvelopeHandler, TransportObserver>;
}

export class Pipe implements Transport {
  readonly environment: Environment | undefined;
  readonly #network: Network;
  readonly #access: Access;
  readonly #token: string;
  readonly #wire: Wire;
  readonly #keys = new Map<string, Entry>();
  readonly #byNumber = new Map<number, string>();
  #topics = new Map<number, { key: string; epoch: string }>();
  #connection: number | undefined;
  #last = 0;

  constructor(network: Network, access: Access, token: string, environment: Environment | undefined) {
    this.#network = network;
    this.#access = access;
    this.#token = token;
    this.#wire = network.wire(0, 'down');
    this.environment = environment;
  }

  /** Hands `envelope` to who listens here; the server hears nothing of it. */
  publish(key: string, envelope: Envelope): void {
    if (!this.#keys.has(key)) return;
    this.#network.carryAny(this.#wire, 0, () => this.#hand(key, envelope));
  }

  subscribe(key: string, handler: EnvelopeHandler, observer?: TransportObserver): Unsubscribe {
    let entry = this.#keys.get(key);
    if (entry === undefined) {
      entry = { subscription: ++this.#last, handlers: new Set(), observers: new Map() };
      this.#keys.set(key, entry);
      this.#byNumber.set(entry.subscription, key);
      if (this.#connection === undefined) this.open();
      else this.#follow([[key, entry]]);
    }
    entry.handlers.add(handler);
    if (observer) entry.observers.set(handler, observer);
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      const present = this.#keys.get(key);
      if (!present?.handlers.delete(handler)) return;
      present.observers.delete(handler);
      if (present.handlers.size > 0) return;
      this.#keys.delete(key);
      this.#byNumber.delete(present.subscription);
      this.#say([Message.Unsubscribe, present.subscription]);
    };
  }

  /** The number of keys that somebody listens to. */
  keyCount(): number {
    return this.#keys.size;
  }

  /** Begins anew with a server that knows nothing of it. */
  open(): void {
    if (this.#keys.size === 0) {
      this.#connection = undefined;
      return;
    }
    this.#topics = new Map();
    this.#connection = this.#access.connect();
    this.#say([Message.Hello, 'pipe', this.#token]);
    this.#follow([...this.#keys]);
  }

  /** Nobody knows what a break has cost. */
  lose(): void {
    this.#network.carry(this.#wire, () => {
      for (const { observers } of [...this.#keys.values()]) lose(observers.values());
    });
  }

  /** Takes a frame of the server. */
  deliver(frame: Uint8Array): void {
    let from = 0;
    for (const end of ends(frame)) {
      this.#take(decode(frame.subarray(from, end)) as unknown[], end - from);
      from = end;
    }
  }

  #take([kind, ...fields]: unknown[], bytes: number): void {
    if (kind === Message.Beacon) {
      // Who is silent is taken for gone.
      this.#say([Message.Ping]);
    } else if (kind === Message.Answer) {
      const [subscription, , topic, epoch] = fields as [number, number, number, Uint8Array];
      const key = this.#byNumber.get(subscription);
      if (key !== undefined) this.#topics.set(topic, { key, epoch: hex(epoch) });
    } else if (kind === Message.Envelope) {
      const [topic, sequence, prev, version, , hasValue, value] = fields as [number, number, number | null, string | null, unknown, boolean, unknown];
      const known = this.#topics.get(topic);
      if (known === undefined) return;
      const envelope: Envelope = { value: hasValue ? value : undefined, sequence, epoch: known.epoch };
      if (version !== null) envelope.schema_version = version;
      if (prev !== null) envelope.prev = prev;
      this.#network.carryAny(this.#wire, bytes, () => this.#hand(known.key, envelope));
    }
  }

  #hand(key: string, envelope: Envelope): void {
    const followed = this.#keys.get(key);
    if (followed !== undefined) deliver(followed.handlers, envelope);
  }

  #follow(entries: readonly (readonly [string, Entry])[]): void {
    this.#say([Message.Subscribe, entries.map(([key, { subscription }]) => [subscription, [OBJECT, key], null])]);
  }

  #say(message: readonly unknown[]): void {
    if (this.#connection !== undefined) this.#access.send(this.#connection, encode(message));
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
