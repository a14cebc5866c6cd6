// What the harness asks of a contestant. Every contestant and workload gets a module instance of its own, so that the
// types of one do not spoil the inline caches of another.

import type { AnyShape } from './records.js';
import type { Codec, Frame, Update } from './wire.js';

/** Who takes part. The first word says whose code it is. */
export interface Entry {
  readonly id: string;
  readonly label: string;
  /** The bundle that it is in. */
  readonly bundle: string;
  readonly codec: Codec;
  readonly gate: 'zod' | 'json-schema' | 'hand' | 'none';
}

/** Replicas of a workload's records, open and at their first values. */
export interface Session {
  /** Writes the updates of a frame, where the contestant has a format of its own. Not timed. */
  write?(updates: readonly Update[]): Frame;
  /** Takes a frame in. */
  receive(frame: Frame): void;
  /** The value of the record at `index`, as a plain object. */
  read(index: number): unknown;
  /** How the gate ran; known afterwards. */
  gateRan(): 'compiled' | 'in JavaScript' | 'none';
  close(): void;
}

/** What a bundle exports as `open`; `undefined` where this build cannot do it. */
export type Open = (entry: Entry, shape: AnyShape, first: readonly Update[], keys: readonly string[]) => Promise<Session | undefined>;

/** Delivers frames and reads, after each, the records that `reads` has for it. Returns the sum over all that was read. */
export function drive(
  session: Session, frames: readonly Frame[], reads: readonly Int32Array[], checksum: (value: unknown) => number,
): number {
  let sum = 0;
  for (let f = 0; f < frames.length; f++) {
    session.receive(frames[f]!);
    const due = reads[f]!;
    for (let i = 0; i < due.length; i++) sum = (sum + checksum(session.read(due[i]!))) | 0;
  }
  return sum;
}
