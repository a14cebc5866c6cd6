// The results as they are written to `client.json`, and what is made of them: medians, ratios, bars.

import type { Workload } from './workloads.js';

export interface Result {
  readonly id: string;
  readonly label: string;
  /** Where its gate ran. */
  readonly gateRan: 'compiled' | 'in JavaScript' | 'none';
  /** Per envelope, round by round. */
  readonly microseconds: readonly number[];
  /** Of an envelope on the wire; 0 where there is none. */
  readonly bytes: number;
}

/** One workload in one environment. */
export interface Contest {
  readonly workload: string;
  readonly label: string;
  /** Of one round. */
  readonly envelopes: number;
  readonly results: readonly Result[];
}

/** What it takes to hold records, in bytes; without `unread` where it took too long. */
export interface Held {
  readonly id: string;
  readonly label: string;
  readonly count: number;
  readonly unread?: number;
  readonly read?: number;
}

/** From nothing to the first record, round by round. */
export interface Start {
  readonly id: string;
  readonly label: string;
  readonly milliseconds: readonly number[];
}

export interface Download {
  readonly id: string;
  readonly label: string;
  /** Bytes after brotli. */
  readonly script: number;
  readonly wasm: number;
}

export interface Environment {
  readonly name: string;
  readonly version: string;
  readonly contests: readonly Contest[];
  readonly held?: readonly Held[];
  readonly starts?: readonly Start[];
}

/** What `client.json` holds. */
export interface Report {
  readonly at: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly load: number };
  readonly rounds: number;
  readonly environments: readonly Environment[];
  readonly downloads: readonly Download[];
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** How many times as fast `ours` is, round by round: what else the machine did in a round slowed both. */
export function ratio(ours: Result, theirs: Result): Spread {
  return spread(ours.microseconds.map((time, round) => theirs.microseconds[round]! / time));
}

/** How one bar stands in one environment. Ratios above 1 are in our favour. */
export interface Verdict {
  readonly what: string;
  readonly against: string;
  readonly ratio: Spread;
  /** The ratio of the best rounds. */
  readonly best: number;
  readonly times: number;
  readonly isMet: boolean;
}

/** Engines other than Chromium's have to reach this part of each bar. */
export const ELSEWHERE = 0.6;

/** All bars of an environment. Those about what was not measured are left out. */
export function verdicts(environment: Environment, workloads: readonly Workload[]): Verdict[] {
  const verdict = (what: string, against: string, measured: Spread, best: number, bar: number): Verdict => {
    const times = environment.name === 'Chromium' ? bar : bar * ELSEWHERE;
    return { what, against, ratio: measured, best, times, isMet: measured.median >= times };
  };
  const hot = environment.contests.flatMap((contest) => {
    const bars = workloads.find(({ id }) => id === contest.workload)?.bars ?? [];
    return bars.flatMap((bar) => {
      const ours = contest.results.find(({ id }) => id === bar.ours);
      const theirs = contest.results.find(({ id }) => id === bar.theirs);
      if (ours === undefined || theirs === undefined) return [];
      const best = spread(theirs.microseconds).min / spread(ours.microseconds).min;
      return [verdict(contest.label, theirs.label, ratio(ours, theirs), best, bar.times)];
    });
  });
  const of = <T extends { id: string }>(list: readonly T[] | undefined, id: string): T | undefined => list?.find((each) => each.id === id);
  const held = of(environment.held, 'tidewire-objects');
  const twin = of(environment.held, 'twin');
  const memory = HELD.flatMap(({ state, label, times }) => {
    const [ours, theirs] = [held?.[state], twin?.[state]];
    if (ours === undefined || theirs === undefined) return [];
    const measured = theirs / ours;
    return [verdict(`${held!.count} replicas of 200 bytes, ${label}`, twin!.label, { median: measured, min: measured, max: measured }, measured, times)];
  });
  const ours = of(environment.starts, 'tidewire-objects');
  const bare = of(environment.starts, 'bare');
  if (ours === undefined || bare === undefined) return [...hot, ...memory];
  const start = spread(ours.milliseconds.map((time, round) => bare.milliseconds[round]! / time));
  const best = spread(bare.milliseconds).min / spread(ours.milliseconds).min;
  return [...hot, ...memory, verdict('import to first replica', bare.label, start, best, START)];
}

/** At most half the memory of the twin while nothing was read, and at most 1.2 times as much afterwards. */
const HELD = [
  { state: 'unread', label: 'unread', times: 2 },
  { state: 'read', label: 'all read', times: 1 / 1.2 },
] as const;

/** At most twice as long as the wasm file alone. */
const START = 0.5;
