// Says where a contestant's time goes in Node, function by function, over the timed part of a workload alone.
//
//   node bench/profile.mjs WORKLOAD CONTESTANT [ROUNDS]
//
// such as `hundred tidewire-zod`. It builds modules that keep their names, with the wasm file from before wasm-opt, which
// `cargo xtask build` leaves in target/xtask: shares are right, times are a little longer than those of the benchmark.

import { Session } from 'node:inspector/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bundle } from './build.mjs';

/** Functions that are shown. */
const SHOWN = 30;

const [workload, contestant, rounds = '30'] = process.argv.slice(2);
if (contestant === undefined) {
  console.error('say which: node bench/profile.mjs WORKLOAD CONTESTANT [ROUNDS]');
  process.exit(1);
}
const root = dirname(fileURLToPath(import.meta.url));
const outdir = join(root, 'dist/named');
await bundle('node', outdir, join(root, '../target/xtask/wasm/client/tidewire_bg.wasm'));
const { run, spread } = await import(pathToFileURL(join(outdir, 'runner.js')).href);

const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.setSamplingInterval', { interval: 200 });
await session.post('Profiler.start');
const [contest] = await run({ workloads: [workload], rounds: Number(rounds), takesPart: ({ id }) => id === contestant });
const { profile } = await session.post('Profiler.stop');
if (contest === undefined || contest.results.length === 0) {
  console.error(`there is no ${contestant} in ${workload}`);
  process.exit(1);
}

const parents = new Map(profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));

/** Whether a node lies under `drive`, the timed loop. */
function isTimed(id) {
  for (let at = id; at !== undefined; at = parents.get(at)) if (frames.get(at).functionName === 'drive') return true;
  return false;
}

const timed = new Map(profile.nodes.map(({ id }) => [id, isTimed(id)]));
const shares = new Map();
let all = 0;
profile.samples.forEach((id, i) => {
  if (!timed.get(id)) return;
  const { functionName, url, lineNumber } = frames.get(id);
  const file = url.split('/').at(-1).replace(/\?.*/, '');
  const place = file.endsWith('.js') ? `${file}:${lineNumber + 1}` : 'wasm';
  const name = `${functionName.replace(/::h[0-9a-f]{16}$/, '') || '(anonymous)'}  ${place}`;
  shares.set(name, (shares.get(name) ?? 0) + profile.timeDeltas[i]);
  all += profile.timeDeltas[i];
});
const [result] = contest.results;
console.log(`${contest.label}: ${result.label}, ${spread(result.microseconds).median.toFixed(2)} µs an envelope`);
const sorted = [...shares].sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
for (const [name, time] of sorted) console.log(`${((100 * time) / all).toFixed(1).padStart(5)} %  ${name}`);
process.exit(0);
