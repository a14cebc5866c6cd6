// The server's end of a link, fed by the benchmark: it greets, answers subscriptions with snapshots, and delivers frames
// that were written beforehand. Nothing of it runs while time is taken but the call of `onmessage`.

import { type Frame, snapshots, type Update, welcome } from './wire.js';
import { decode } from '../../pkg/src/value/decode.js';

/** Snapshots of one frame. */
const PER_FRAME = 500;

export class ServerLink {
  readonly bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly #answer: (key: string) => Update | undefined;

  /** `answer` has the snapshot of a key. */
  constructor(answer: (key: string) => Update | undefined) {
    this.#answer = answer;
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
      if (message[0] !== 2) continue;
      const subscriptions = message[1] as [number, [number, string]][];
      for (let from = 0; from < subscriptions.length; from += PER_FRAME) {
        const part = subscriptions.slice(from, from + PER_FRAME);
        const updates = part.map(([, [, key]]) => {
          const update = this.#answer(key);
          if (update === undefined) throw new Error(`the benchmark has no record ${key}`);
          return update;
        });
        this.deliver(snapshots('tidewire', updates, part.map(([subscription]) => subscription)));
      }
    }
  }
}

/** The messages of a frame: read as one array, whose head is put in front. */
function messagesOf(frame: Uint8Array): unknown[][] {
  // A frame says not how many messages it has: try from one on, which is what a client sends nearly always.
  for (let count = 1; count < 16; count++) {
    const whole = new Uint8Array(frame.length + 1);
    whole[0] = 0x90 | count;
    whole.set(frame, 1);
    try {
      return decode(whole.buffer, 0, whole.length) as unknown[][];
    } catch {
      // Too few or too many.
    }
  }
  throw new Error('the benchmark cannot read what the client sent');
}
