// Tidewire as one of those that hold records, lean: nothing is imported but the package. What the server answers was
// recorded beforehand: the n-th frame that a client sends is answered by the n-th answer.

import { type Client, connect, init, type Replica } from 'tidewire';
import type { Follow, Follower } from './rival.js';

export { init };

/** A link that answers from a list. */
class RecordedLink {
  readonly bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  #next = 0;
  /** What was sent before `release`. */
  #waiting = 0;
  #isReleased = false;

  /** Lets go of what it has delivered. */
  constructor(readonly answers: (readonly ArrayBuffer[])[]) {}

  send(): void {
    if (this.#isReleased) this.#answer();
    else this.#waiting++;
  }

  /** Answers from now on: whoever opens many replicas before that asks for all of them at once. */
  release(): void {
    this.#isReleased = true;
    for (; this.#waiting > 0; this.#waiting--) this.#answer();
  }

  #answer(): void {
    const which = this.#next++;
    const frames = this.answers[which] ?? [];
    if (which < this.answers.length) this.answers[which] = [];
    queueMicrotask(() => frames.forEach((data) => this.onmessage?.({ data })));
  }

  close(): void {
    this.onmessage = null;
  }
}

/** How many replicas a connection holds: the protocol's limit. */
export const PER_CONNECTION = 10_000;

type Recording = (readonly ArrayBuffer[])[];

/** Recordings as one file: how many, then each its answers, each its frames, each its bytes; all counts of 32 bits. */
function recordings(file: Uint8Array): Recording[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  const count = (): number => view.getUint32((at += 4) - 4);
  const list = <T>(item: () => T): T[] => Array.from({ length: count() }, item);
  const frame = (): ArrayBuffer => {
    const length = count();
    return file.slice(at, (at += length)).buffer as ArrayBuffer;
  };
  return list(() => list(() => list(frame)));
}

export function write(all: readonly Recording[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const count = (value: number): void => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value);
    parts.push(bytes);
  };
  count(all.length);
  for (const recording of all) {
    count(recording.length);
    for (const frames of recording) {
      count(frames.length);
      for (const frame of frames) {
        count(frame.byteLength);
        parts.push(new Uint8Array(frame));
      }
    }
  }
  const file = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

async function open(recording: Recording): Promise<[Client, RecordedLink]> {
  const link = new RecordedLink(recording);
  return [await connect({ link: () => link }), link];
}

/** All records in one datastore. */
export const followRecords: Follow<Promise<Follower>> = async (initial) => {
  const [recording] = recordings(initial as Uint8Array);
  const [client, link] = await open(recording!);
  const items = client.datastore<unknown>('items', undefined, { kind: 'permanent' });
  link.release();
  await items.ready();
  return { receive() {}, read: (id) => items.get(id) };
};

export const idAt = (index: number): string => `item:${1000 + index}`;

/** A replica for each, over as many connections as that takes. */
export const followObjects: Follow<Promise<Follower>> = async (initial) => {
  const file = initial as Uint8Array;
  const all = recordings(file);
  // Behind the recordings: how many replicas.
  const count = new DataView(file.buffer, file.byteOffset + file.byteLength - 4).getUint32(0);
  const replicas: Replica<unknown>[] = [];
  for (const [which, recording] of all.entries()) {
    const [client, link] = await open(recording);
    const from = which * PER_CONNECTION;
    const part = Array.from({ length: Math.min(PER_CONNECTION, count - from) }, (_, i) => client.synced<unknown>(idAt(from + i)));
    link.release();
    await part.at(-1)!.ready();
    replicas.push(...part);
  }
  return { receive() {}, read: (id) => replicas[Number(id.slice('item:'.length)) - 1000]!.get() };
};
