// The server's end of a link, fed by the benchmark: it greets, answers subscriptions with snapshots, and delivers frames
// that were written beforehand. Nothing of it runs while time is taken but the call of `onmessage`.

import { type Frame, page, snapshots, type Update, welcome } from './wire.js';
import { messagesOf } from '../../pkg/test/decode.js';

/** Snapshots of one frame. */
const PER_FRAME = 500;

/** The kind of a target that is an object. */
const OBJECT = 0;

type Subscription = [subscription: number, target: [kind: number, key: string]];

/** What the server has. */
export interface Source {
  /** The object at `key`. */
  object(key: string): Update;
  /** All records of the datastore, in the order of their numbers. */
  records(): readonly Update[];
}

export class ServerLink {
  readonly bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #source: Source;

  constructor(source: Source) {
    this.#source = source;
  }

  /** One object for all frames: a browser makes one per frame, which is no part of what is compared. */
  readonly #event = { data: new ArrayBuffer(0) };

  deliver(frame: Frame): void {
    this.#event.data = frame as ArrayBuffer;
    this.onmessage!(this.#event);
  }

  send(sent: Uint8Array): void {
    const frame = sent.slice();
    queueMicrotask(() => this.#reply(frame));
  }

  close(): void {
    this.onmessage = null;
  }

  #reply(frame: Uint8Array<ArrayBuffer>): void {
    for (const message of messagesOf(frame)) {
      if (message[0] === 1) this.deliver(welcome());
      if (message[0] === 2) this.#subscribed(message[1] as Subscription[]);
      if (message[0] === 6) this.#page(message[1] as number, message[2] as number, Number(message[3]));
    }
  }

  #subscribed(subscriptions: readonly Subscription[]): void {
    const objects = subscriptions.filter(([, [kind]]) => kind === OBJECT);
    for (let from = 0; from < objects.length; from += PER_FRAME) {
      const part = objects.slice(from, from + PER_FRAME);
      this.deliver(snapshots('tidewire', part.map(([, [, key]]) => this.#source.object(key)), part.map(([subscription]) => subscription)));
    }
    for (const [subscription, [kind]] of subscriptions) if (kind !== OBJECT) this.#page(subscription, 0, 0);
  }

  #page(subscription: number, attempt: number, from: number): void {
    const records = this.#source.records();
    this.deliver(page(records, subscription, attempt, records.at(-1)?.number ?? 0, from));
  }
}
