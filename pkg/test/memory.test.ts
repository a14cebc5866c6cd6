// Whatever comes and goes leaves nothing behind: neither in WebAssembly's memory, which never shrinks, nor in JavaScript's.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import { openPage } from './browser.js';
import type { Levels, runMemory as RunMemory } from './memory_run.js';

declare const runMemory: typeof RunMemory;

const SCRIPT = new URL('memory_run.ts', import.meta.url);
const DIST = fileURLToPath(new URL('../dist/', import.meta.url));

const MIB = 1024 * 1024;
/** What engines keep for themselves (compiled code, caches), and holes between allocations: far below a leak of anything. */
const SLACK = 3 * MIB;

function isLevel({ warm, replicas, held, heldAgain, clients, clientsAgain, forgotten, forgottenAgain }: Levels): void {
  // A thousand at a time take what a thousand take, however many there were.
  expect(replicas.wasm - warm.wasm).toBeLessThanOrEqual(MIB);
  expect(replicas.heap - warm.heap).toBeLessThan(SLACK);
  // Twenty thousand at once take more, once.
  expect(heldAgain.wasm - held.wasm).toBeLessThanOrEqual(MIB);
  expect(heldAgain.heap - held.heap).toBeLessThan(SLACK);
  expect(heldAgain.heap - warm.heap).toBeLessThan(2 * SLACK);
  // Five hundred clients take 8 KB each until they are collected; what is taken once is enough for as many again.
  expect(clients.wasm - heldAgain.wasm).toBeLessThanOrEqual(5 * MIB);
  expect(clientsAgain.wasm).toBe(clients.wasm);
  expect(clientsAgain.heap - heldAgain.heap).toBeLessThan(SLACK);
  // Nobody disposed of these.
  expect(forgotten.wasm - clients.wasm).toBeLessThanOrEqual(MIB);
  expect(forgottenAgain.wasm).toBe(forgotten.wasm);
  expect(forgottenAgain.heap - clientsAgain.heap).toBeLessThan(SLACK);
}

test('in Node, 100,000 replicas and 1,000 clients leave memory level, forgotten ones too', async () => {
  const folder = await mkdtemp(`${DIST}memory-`);
  try {
    await build({
      entryPoints: [fileURLToPath(SCRIPT)], outfile: `${folder}/run.mjs`, bundle: true, format: 'esm', platform: 'node', target: 'es2022',
      alias: { tidewire: `${DIST}inline.js`, 'tidewire/testing': `${DIST}testing.js` },
      footer: { js: 'console.log(JSON.stringify(await runMemory()));' },
    });
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', `${folder}/run.mjs`], { timeout: 110_000 });
    isLevel(JSON.parse(stdout) as Levels);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 120_000);

test('in Chromium, they do so too', async () => {
  const { page, errors, close } = await openPage(SCRIPT, ['--js-flags=--expose-gc', '--enable-precise-memory-info']);
  try {
    isLevel(await page.evaluate(() => runMemory()));
    expect(errors).toEqual([]);
  } finally {
    await close();
  }
}, 120_000);
