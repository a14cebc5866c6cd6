// A link whose other end is the test: it greets, answers subscriptions with what it is told, and delivers values in
// frames as the server writes them.

import { encode } from '../src/value/encode.js';
import { messagesOf } from './decode.js';

const EPOCH = Uint8Array.from({ length: 16 }, (_, i) => i * 17);

/** One change of one key. */
export type Update = readonly [key: string, sequence: number, value: unknown];

export class Feed {
  readonly bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #topics = new Map<string, number>();
  readonly #first: (key: string) => unknown;

  /** `first` has the values that subscriptions are answered with, at sequence 1. */
  constructor(first: (key: string) => unknown) {
    this.#first = first;
  }

  link(): this {
    return this;
  }

  send(sent: Uint8Array): void {
    const frame = sent.slice();
    queueMicrotask(() => this.#answer(frame));
  }

  close(): void {
    this.onmessage = null;
  }

  /** Delivers new values of objects, in one frame. */
  deliver(...updates: readonly Update[]): void {
    this.#deliver(updates.map(([key, sequence, value]) => [67, this.#topics.get(key), sequence, null, null, null, true, value]));
  }

  /** Delivers new records of a collection (`undefined`: deletions), in one frame. */
  deliverRows(id: string, ...rows: readonly Update[]): void {
    this.#deliver(rows.map(([key, sequence, value]) => {
      const head = [67, this.#topics.get(id), sequence, sequence - 1, null, key];
      return value === undefined ? [...head, false] : [...head, true, value];
    }));
  }

  #deliver(messages: readonly unknown[]): void {
    const parts = messages.map(encode);
    const frame = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      frame.set(part, at);
      at += part.length;
    }
    this.onmessage?.({ data: frame.buffer });
  }

  #answer(frame: Uint8Array<ArrayBuffer>): void {
    for (const message of messagesOf(frame)) {
      if (message[0] === 1) this.#deliver([[64, 1, 2 ** 31 - 1]]);
      if (message[0] === 2) this.#subscribe(message[1] as [number, [number, string]][]);
    }
  }

  #subscribe(subscriptions: [number, [number, string]][]): void {
    this.#deliver(subscriptions.map(([subscription, [kind, name]]) => {
      const topic = this.#topics.size + 1;
      this.#topics.set(name, topic);
      const first = this.#first(name);
      const rows = kind === 0 ? undefined : Object.entries(first as object).map(([key, value], i) => [i + 1, key, value]);
      const answer = rows === undefined ? [2, 1, null, first, []] : [3, rows.length, rows, null, []];
      return [65, subscription, 0, topic, EPOCH, answer];
    }));
  }
}
