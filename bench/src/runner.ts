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
  /** Only contestants of these names. */
  only?: readonly string[] | undefined;
  /** Whether the machine is busy with other things, so that the time has to be taken in pieces. */
  isShared?: boolean;
  progress?: (part: number, label: string) => void;
}

/** Runs the hot path; the bundles of the contestants lie beside this one. */
export async function run({ rounds = 11, warmUp = 4, scale = 1, workloads, only, takesPart = only && (({ id }) => only.includes(id)), isShared = false, progress }: RunOptions = {}): Promise<Contest[]> {
  const chosen = WORKLOADS.filter(({ id }) => workloads === undefined || workloads.length === 0 || workloads.includes(id));
  const contests: Contest[] = [];
  for (const [which, workload] of chosen.entries()) {
    contests.push(await runWorkload(workload, {
      load: (bundle, instance) => import(/* @vite-ignore */ new URL(`./${bundle}.js?${instance}`, import.meta.url).href),
      rounds, warmUp, scale, isShared,
      ...(takesPart && { takesPart }),
      pause: () => new Promise((resolve) => setTimeout(resolve)),
      progress: (done, all) => progress?.((which + done / all) / chosen.length, workload.label),
    }));
  }
  return contests;
}
