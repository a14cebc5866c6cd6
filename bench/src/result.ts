// The results as they are written to `client.json`, and what is made of them: medians, ratios, bars.

import type { Bar, Workload } from './workloads.js';

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

export type EnvironmentName = 'Chromium' | 'Firefox' | 'Node';

export interface Environment {
  readonly name: string;
  readonly version: string;
  readonly contests: readonly Contest[];
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

export interface Verdict {
  readonly bar: Bar;
  readonly ratio: Spread;
  /** The bar of this environment. */
  readonly times: number;
  readonly isMet: boolean;
}

/** Engines other than Chromium's have to reach this part of each bar. */
export const ELSEWHERE = 0.6;

/** How the bars of a workload stand. Bars about who did not take part are left out. */
export function verdicts(contest: Contest, workload: Workload, environment: string): Verdict[] {
  return workload.bars.flatMap((bar) => {
    const ours = contest.results.find(({ id }) => id === bar.ours);
    const theirs = contest.results.find(({ id }) => id === bar.theirs);
    if (ours === undefined || theirs === undefined) return [];
    const times = environment === 'Chromium' ? bar.times : bar.times * ELSEWHERE;
    const measured = ratio(ours, theirs);
    return [{ bar, ratio: measured, times, isMet: measured.median >= times }];
  });
}
