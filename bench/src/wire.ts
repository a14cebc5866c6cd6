// Frames, as a server sends them, in each contestant's codec. The messages are those of PROTOCOL.md; Tidewire's bytes come
// from the encoder of its own package, which the golden files of the protocol hold to what the Rust side writes.

import { Packr, Unpackr } from 'msgpackr';
import { encode } from '../../pkg/src/value/encode.js';

/** What carries a value to a contestant. */
export type Codec = 'tidewire' | 'records' | 'json' | 'msgpackr' | 'objects' | 'own';

/** One change of one record. */
export interface Update {
  /** Which of the workload's records. */
  readonly index: number;
  readonly sequence: number;
  readonly value: unknown;
  /** The sequence that it has where all records are of one datastore. */
  readonly number?: number;
}

/** The topic of a datastore. */
const TABLE = 1;

const keyOf = ({ value }: Update): string => (value as { id: string }).id;

/** A frame: an ArrayBuffer, a text, a Uint8Array, or the updates themselves. */
export type Frame = ArrayBuffer | string | Uint8Array | readonly Update[];

/** The number that the server gives the history of the record at `index`. */
export const topicOf = (index: number): number => index + 1;

export const EPOCH = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
const EPOCH_TEXT = Array.from(EPOCH, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** A heartbeat that no benchmark lives to see. */
const HEARTBEAT = 2 ** 31 - 1;

/** Rows of 200 bytes that fit a page. */
const PAGE_ROWS = 1000;

const packr = new Packr();
const unpackr = new Unpackr();

export const unpack = (frame: Uint8Array): unknown => unpackr.unpack(frame);

export function bytes(...messages: readonly unknown[]): ArrayBuffer {
  const parts = messages.map((message) => encode(message));
  const frame = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame.buffer;
}

export const welcome = (): ArrayBuffer => bytes([64, 1, HEARTBEAT]);

/** The envelopes of a frame, in `codec`. */
export function envelopes(codec: Exclude<Codec, 'own'>, updates: readonly Update[]): Frame {
  if (codec === 'objects') return updates;
  if (codec === 'records') return bytes(...updates.map((update) => [67, TABLE, update.number!, null, null, keyOf(update), true, update.value]));
  return written(codec, updates.map(({ index, sequence, value }) => [67, topicOf(index), sequence, null, null, null, true, value]));
}

/** The answers to subscriptions, in `codec`. `subscriptions[i]` is the number that the client gave to the i-th. */
export function snapshots(codec: 'tidewire' | 'json' | 'msgpackr', updates: readonly Update[], subscriptions: readonly number[]): Frame {
  const epoch = codec === 'tidewire' ? EPOCH : EPOCH_TEXT;
  return written(codec, updates.map(({ index, sequence, value }, i) => [
    65, subscriptions[i]!, 0, topicOf(index), epoch, [2, sequence, null, value, []],
  ]));
}

/** A page of a datastore's snapshot: the records from `from` on, as many as fit a page of the server's. */
export function page(updates: readonly Update[], subscription: number, attempt: number, sequence: number, from: number): ArrayBuffer {
  const to = from + PAGE_ROWS;
  const rows = updates.slice(from, to).map((update) => [update.number!, keyOf(update), update.value, null]);
  return bytes([65, subscription, attempt, TABLE, EPOCH, [3, sequence, rows, to < updates.length ? String(to) : null, []]]);
}

function written(codec: 'tidewire' | 'json' | 'msgpackr', messages: readonly unknown[]): Frame {
  switch (codec) {
    case 'tidewire': return bytes(...messages);
    case 'json': return JSON.stringify(messages);
    // A copy of its own: what `pack` returns lies in a buffer that many share.
    case 'msgpackr': return Uint8Array.from(packr.pack(messages));
  }
}

/** How many bytes a frame takes on the wire. */
export function wireBytes(frame: Frame): number {
  if (typeof frame === 'string') return new TextEncoder().encode(frame).length;
  return 'byteLength' in frame ? frame.byteLength : 0;
}
