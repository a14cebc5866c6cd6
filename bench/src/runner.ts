// Runs the workloads in the realm that imports it: a browser's page or Node.

import type { Entry } from './contestant.js';
import { runWorkload } from './hot.js';
import type { Contest } from './result.js';
import { WORKLOADS } from './workloads.js';

export { ratio, spread, verdicts } from './result.js';
export { WORKLOADS } from './workloads.js';

export interface RunOptions {
  rounds?: number;
  warmUp?: number;
  scale?: number;
  /** Only workloads of these names. */
  workloads?: readonly string[];
  takesPart?: (entry: Entry) => boolean;
  progress?: (part: number, label: string) => void;
}

/** Runs the hot path; the bundles of the contestants lie beside this one. */
export async function run({ rounds = 11, warmUp = 4, scale = 1, workloads, takesPart, progress }: RunOptions = {}): Promise<Contest[]> {
  const chosen = WORKLOADS.filter(({ id }) => workloads === undefined || workloads.length === 0 || workloads.includes(id));
  const contests: Contest[] = [];
  for (const [which, workload] of chosen.entries()) {
    contests.push(await runWorkload(workload, {
      load: (bundle, instance) => import(/* @vite-ignore */ new URL(`./${bundle}.js?${instance}`, import.meta.url).href),
      rounds, warmUp, scale,
      ...(takesPart && { takesPart }),
      pause: () => new Promise((resolve) => setTimeout(resolve)),
      progress: (done, all) => progress?.((which + done / all) / chosen.length, workload.label),
    }));
  }
  return contests;
}
