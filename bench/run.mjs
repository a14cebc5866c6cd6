// The client benchmark: builds nothing, measures everything, prints the tables and writes them as JSON.
//
//   node bench/run.mjs [--in chromium,firefox,node] [--rounds N] [--records N] [--out FILE] [--shared] [--only CONTESTANTS] [WORKLOAD...]
//
// A workload is one of the hot path, `memory`, `start` or `download`; without any, all are measured.
//
// CHROME and FIREFOX name the browsers' programs where they are not on the path. `cargo xtask bench client` builds first.

import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { launch, LIMIT } from './lib/browsers.mjs';
import { downloads } from './lib/download.mjs';
import { first } from './lib/first.mjs';
import { hold } from './lib/hold.mjs';
import { serve } from './lib/site.mjs';
import { barTable, contestTable, downloadTable, heldTable, startTable } from './lib/table.mjs';

const root = dirname(fileURLToPath(import.meta.url));
const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    in: { type: 'string', default: 'chromium,firefox,node' },
    rounds: { type: 'string', default: '11' },
    records: { type: 'string', default: '100000' },
    shared: { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string', default: join(root, '../target/bench/client.json') },
  },
});
const places = options.in.toLowerCase().split(',');
const OTHERS = ['memory', 'start', 'download'];
const isWanted = (part) => wanted.length === 0 || wanted.includes(part);
const rounds = Number(options.rounds);
const workloads = wanted.filter((part) => !OTHERS.includes(part));
const hasHot = wanted.length === 0 || workloads.length > 0;
const run = { rounds, workloads, isShared: options.shared, only: options.only?.split(',') };
const say = (line) => console.log(line);

async function inBrowser(which, url) {
  const browser = await launch(which);
  try {
    const page = await browser.newPage();
    page.on('console', (message) => say(`  ${message.text()}`));
    page.on('pageerror', (error) => say(`  ${error}`));
    await page.goto(url);
    const contests = !hasHot ? [] : await page.evaluate(async (run) => {
      const { run: measure } = await import('/runner.js');
      return measure(run);
    }, run);
    const facts = await page.evaluate(() => ({ isIsolated: crossOriginIsolated, hasGc: typeof gc === 'function' }));
    await page.close();
    const held = which === 'Chromium' && isWanted('memory') ? await hold({ browser, url, count: Number(options.records), say }) : undefined;
    const starts = which === 'Chromium' && isWanted('start') ? await first({ browser, url, rounds: Math.max(rounds, 15) }) : undefined;
    return { name: which, version: await browser.version(), ...facts, contests, held, starts };
  } finally {
    await browser.close();
  }
}

async function inNode() {
  const held = isWanted('memory') ? await hold({ count: Number(options.records), say }) : undefined;
  const facts = { name: 'Node', version: process.version, isIsolated: true, hasGc: true };
  if (!hasHot) return { ...facts, contests: [], held };
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc', '--input-type=module', '--eval',
    `const { run } = await import(${JSON.stringify(new URL('dist/node/runner.js', import.meta.url).href)});
    process.stdout.write(JSON.stringify(await run(${JSON.stringify(run)})), () => process.exit(0));`,
  ], { maxBuffer: 1 << 26, timeout: LIMIT });
  return { ...facts, contests: JSON.parse(stdout), held };
}

/** Written after every place, so that a run that is cut short leaves what it has. */
function save(downloads) {
  mkdirSync(dirname(options.out), { recursive: true });
  writeFileSync(options.out, `${JSON.stringify({
    at: new Date().toISOString(), machine: { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: cpus().length, load: loadavg()[0] },
    rounds, environments, downloads,
  }, null, 1)}\n`);
}

const site = await serve(join(root, 'dist/web'));
const environments = [];
try {
  for (const which of ['Chromium', 'Firefox', 'Node']) {
    if (!places.includes(which.toLowerCase())) continue;
    say(`measuring in ${which}`);
    const environment = which === 'Node' ? await inNode() : await inBrowser(which, site.url);
    environments.push(environment);
    save([]);
    for (const contest of environment.contests) for (const line of contestTable(environment, contest)) say(line);
    if (environment.held) for (const line of heldTable(environment)) say(line);
    if (environment.starts) for (const line of startTable(environment)) say(line);
  }
} finally {
  site.close();
}

const sizes = isWanted('download') ? downloads() : [];
if (sizes.length > 0) for (const line of downloadTable(sizes)) say(line);
const { lines, rows } = barTable(environments);
for (const line of lines) say(line);
const missed = rows.filter((row) => row.at(-1) !== 'met').length;
save(sizes);
say(`bars: ${rows.length - missed} met, ${missed} missed`);
