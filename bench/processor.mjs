// The hot path in Node, by the time of the processor: on a machine that others use too, a clock on the wall says little.
//
//   node bench/processor.mjs [ROUNDS [WORKLOAD [CONTESTANT...]]]
//
// such as `9 hundred tidewire-zod twin-zod-json`. One thread does everything, so that all it costs is counted. The modules
// are those of `cargo xtask bench client`, which has to have run once.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

if (globalThis.gc === undefined) {
  execFileSync(process.execPath, ['--expose-gc', '--single-threaded', fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exit(0);
}

const [rounds = '9', workload, ...contestants] = process.argv.slice(2);
const { run, spread } = await import(new URL('dist/node/runner.js', import.meta.url).href);

performance.now = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const contests = await run({
  rounds: Number(rounds),
  workloads: workload === undefined ? [] : [workload],
  takesPart: ({ id }) => contestants.length === 0 || contestants.includes(id),
});
for (const { label, results } of contests) {
  console.log(label);
  for (const { label: who, gateRan, microseconds } of results) {
    const { median, min } = spread(microseconds);
    console.log(`  ${who.padEnd(40)} ${gateRan.padEnd(14)} ${median.toFixed(2).padStart(7)} µs, at best ${min.toFixed(2)}`);
  }
}
process.exit(0);
