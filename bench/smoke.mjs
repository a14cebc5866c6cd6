// Runs every workload of the benchmark once, tiny, in Node: who takes part, takes part, and ends with the right values.
// Nothing here looks at a clock.

import { strict as assert } from 'node:assert';
import { run, WORKLOADS } from './dist/node/runner.js';

/** Not every build of the package can take a JSON Schema. */
const OPTIONAL = new Set(['tidewire-json-schema']);

const contests = await run({ rounds: 1, warmUp: 0, scale: 0.01 });
assert.deepEqual(contests.map(({ workload }) => workload), WORKLOADS.map(({ id }) => id));
for (const [i, { results, workload }] of contests.entries()) {
  const expected = WORKLOADS[i].entries.map(({ id }) => id).filter((id) => !OPTIONAL.has(id));
  assert.deepEqual(results.map(({ id }) => id).filter((id) => !OPTIONAL.has(id)), expected, workload);
  for (const { microseconds } of results) assert.equal(microseconds.length, 1);
}
console.log(`ok: ${contests.reduce((sum, { results }) => sum + results.length, 0)} contestants in ${contests.length} workloads end right`);
process.exit(0);
