// Measures the workloads of the hot path: all contestants in one realm, in turns within every round.
//
// A round's frames are written before its clock runs, from one list of updates, in every codec. Everything that is read
// goes into a sum, and the sum, as the final state, has to be the one that the updates say: else the run fails.

import type { Entry, Open, Session } from './contestant.js';
import { type AnyShape, isSame, randomFrom, shapes } from './records.js';
import type { Contest, Result } from './result.js';
import { envelopes, type Frame, type Update, wireBytes } from './wire.js';
import type { Workload } from './workloads.js';

/** What a contestant's bundle exports. */
interface Bundle {
  readonly open: Open;
  readonly drive: (session: Session, frames: readonly Frame[], reads: readonly Int32Array[], checksum: (value: unknown) => number) => number;
  readonly shapes: typeof shapes;
}

export interface HotOptions {
  /** Imports a fresh instance of a bundle; `instance` is different at every call. */
  load(bundle: string, instance: string): Promise<unknown>;
  /** Rounds that count. */
  readonly rounds: number;
  /** Rounds before them. */
  readonly warmUp: number;
  /** How much of a round's frames to run: 1, or less where nobody looks at the time. */
  readonly scale: number;
  /** Takes the time of a turn piece by piece, and leaves out those in which the machine did something else. */
  readonly isShared?: boolean;
  /** Only contestants for which this is true. */
  readonly takesPart?: (entry: Entry) => boolean;
  /** Called between any two turns: lets the page breathe. */
  readonly pause: () => Promise<void>;
  readonly progress?: (done: number, all: number, workload: Workload) => void;
}

/** Sequences begin where each takes five bytes, as those of a history that is not young do. */
const FIRST = 100_000;

/** The updates of a workload, round by round. */
class Stream {
  readonly #random = randomFrom(42);
  #number = FIRST;
  readonly #shape: AnyShape;
  readonly #workload: Workload;
  readonly current: Update[];
  readonly keys: string[];

  constructor(workload: Workload) {
    this.#workload = workload;
    this.#shape = shapes[workload.shape];
    this.keys = Array.from({ length: workload.records }, (_, i) => `${workload.shape}:${1000 + i}`);
    this.current = this.keys.map((key, index) => ({
      index, sequence: FIRST, number: ++this.#number, value: this.#shape.make(key, this.#random),
    }));
  }

  /** The next frames, which records to read after each, and the sum of all those reads. */
  round(frames: number): { frames: Update[][]; reads: Int32Array[]; sum: number } {
    const { perFrame, records } = this.#workload;
    const reads: Int32Array[] = [];
    let sum = 0;
    let next = 0;
    const list = Array.from({ length: frames }, () => {
      const touched = new Set<number>();
      const updates = Array.from({ length: perFrame }, () => {
        const index = next++ % records;
        const { sequence, value } = this.current[index]!;
        const update = { index, sequence: sequence + 1, number: ++this.#number, value: this.#shape.change(value, this.#random) };
        this.current[index] = update;
        touched.add(index);
        return update;
      });
      reads.push(Int32Array.from(touched));
      for (const index of touched) sum = (sum + this.#shape.checksum(this.current[index]!.value)) | 0;
      return updates;
    });
    return { frames: list, reads, sum };
  }
}

/** One contestant of a workload. */
interface Contestant {
  readonly entry: Entry;
  readonly bundle: Bundle;
  readonly session: Session;
  readonly checksum: (value: unknown) => number;
  readonly times: number[];
  bytes: number;
}

type Turn = (contestant: Contestant, frames: readonly Frame[], reads: readonly Int32Array[]) => { read: number; took: number };

const turnOf: Turn = ({ bundle, session, checksum }, frames, reads) => {
  const began = performance.now();
  const read = bundle.drive(session, frames, reads, checksum);
  return { read, took: performance.now() - began };
};

/** Pieces of a turn. */
const PIECES = 60;

/** Pieces that count: the fastest. Collections of garbage fall into the others, so all contestants look a little faster. */
const KEPT = 0.6;

const turnInPieces: Turn = (contestant, frames, reads) => {
  const step = Math.max(1, Math.floor(frames.length / PIECES));
  const times: number[] = [];
  let read = 0;
  for (let from = 0; from < frames.length; from += step) {
    const part = frames.slice(from, from + step);
    const turn = turnOf(contestant, part, reads.slice(from, from + step));
    read = (read + turn.read) | 0;
    times.push(turn.took / part.length);
  }
  const kept = times.sort((a, b) => a - b).slice(0, Math.ceil(times.length * KEPT));
  return { read, took: (kept.reduce((sum, time) => sum + time, 0) / kept.length) * frames.length };
};

/** Runs one workload. */
export async function runWorkload(workload: Workload, options: HotOptions): Promise<Contest> {
  const stream = new Stream(workload);
  const { rounds, warmUp, pause } = options;
  const contestants: Contestant[] = [];
  for (const entry of workload.entries) {
    if (options.takesPart?.(entry) === false) continue;
    const bundle = await options.load(entry.bundle, `${workload.id}-${entry.id}`) as Bundle;
    const shape = bundle.shapes[workload.shape];
    const session = await bundle.open(entry, shape, stream.current, stream.keys);
    if (session !== undefined) contestants.push({ entry, bundle, session, checksum: shape.checksum, times: [], bytes: 0 });
  }
  const codecs = [...new Set(contestants.map(({ entry }) => entry.codec))].filter((codec) => codec !== 'own');
  const frameCount = Math.max(2, Math.round(workload.frames * options.scale));
  for (let round = 0; round < warmUp + rounds; round++) {
    const { frames: updates, reads, sum } = stream.round(frameCount);
    const written = new Map(codecs.map((codec) => [codec, updates.map((frame) => envelopes(codec, frame))]));
    for (let turn = 0; turn < contestants.length; turn++) {
      // Another one begins each round, so that nobody always follows the same one.
      const contestant = contestants[(turn + round) % contestants.length]!;
      const { session } = contestant;
      const frames = written.get(contestant.entry.codec as (typeof codecs)[number]) ?? updates.map((frame) => session.write!(frame));
      contestant.bytes = frames.reduce((all, frame) => all + wireBytes(frame), 0) / (frameCount * workload.perFrame);
      await pause();
      (globalThis as { gc?: () => void }).gc?.();
      const { read, took } = options.isShared ? turnInPieces(contestant, frames, reads) : turnOf(contestant, frames, reads);
      if (read !== sum) throw new Error(`${workload.id}: ${contestant.entry.label} read ${read} in round ${round}, not ${sum}: it shows something else than was sent`);
      if (round >= warmUp) contestant.times.push(took);
    }
    options.progress?.(round + 1, warmUp + rounds, workload);
  }
  const results = contestants.map(({ entry, session, times, bytes }): Result => {
    for (const { index, value } of stream.current) {
      if (!isSame(session.read(index), value)) throw new Error(`${workload.id}: ${entry.label} ends with a wrong value of ${stream.keys[index]}`);
    }
    session.close();
    return {
      id: entry.id,
      label: entry.label,
      gateRan: session.gateRan(),
      microseconds: times.map((time) => (time * 1000) / (frameCount * workload.perFrame)),
      bytes,
    };
  });
  return { workload: workload.id, label: workload.label, envelopes: frameCount * workload.perFrame, results };
}
